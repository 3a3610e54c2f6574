"""What clients saw, as data: written by the client processes, read by the checker; pure.

Times are seconds of the machine's clock (``time.time``): clients, strikes and the embedded server share it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

DELTA = "response.output_text.delta"
TEXT_DONE = "response.output_text.done"
PROLOGUE_TYPES = (
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
)
CLOSING_TYPES = (TEXT_DONE, "response.content_part.done", "response.output_item.done")
TERMINAL_TYPES = frozenset({"response.completed", "response.incomplete", "response.failed"})


class Seen(msgspec.Struct, array_like=True, gc=False):
    """One event as it came off a socket."""

    first: int
    """The first number it covers; below ``number`` if deltas were merged."""
    number: int
    epoch: int
    type: str
    text: str
    """The delta, or the whole text of ``output_text.done``."""
    at: float
    stay: int
    """Which of the viewing's sockets brought it."""


class Stay(msgspec.Struct, array_like=True, gc=False):
    """One socket of a viewing."""

    gateway: int
    opened: float
    after: int
    """Cursor with which it was opened; -2 for a create."""
    closed: float = 0.0
    """0 while it is open."""
    code: int = 0
    """Close code the server sent; 1006 if the connection just ended."""
    by_client: bool = False
    """The client closed or dropped it on purpose."""
    in_flight: bool = False
    """The response had not ended here when the socket closed."""


class Stop(msgspec.Struct, array_like=True, gc=False):
    """One press of Stop."""

    at: float
    how: str
    """``same``, ``socket`` or ``gateway``: which socket said it."""
    gateway: int
    said: bool
    """Whether it could be sent at all."""


class Refusal(msgspec.Struct, array_like=True, gc=False):
    """A create or a handshake that was refused."""

    at: float
    waited: float
    """Seconds from the ask to the refusal."""
    code: str
    status: int
    retry_after: float | None


class Ending(msgspec.Struct, array_like=True, gc=False):
    """What the terminal event said."""

    type: str
    status: str
    reason: str
    """Of ``incomplete_details`` or of the error; empty if there is none."""
    text: str
    """Of the output item; empty if the response never started."""
    input_tokens: int | None
    output_tokens: int | None


class Viewing(msgspec.Struct, gc=False):
    """One viewer of one response, through all the sockets it needed."""

    key: str
    """The asker's idempotency key: one response for each."""
    viewer: int
    """0 is the asker."""
    doing: str
    prompt: str
    max_tokens: int
    asked_at: float
    response_id: str = ""
    stop_strings: tuple[str, ...] = ()
    stays: list[Stay] = []
    seen: list[Seen] = []
    stops: list[Stop] = []
    refusals: list[Refusal] = []
    errors: list[str] = []
    """Codes of ``error`` events that were no refusals of a create."""
    left_at: float = 0.0
    ending: Ending | None = None
    over: str = ""
    """``ended``, ``left``, ``refused``, or ``unfinished`` when the audit was over."""
    over_at: float = 0.0


class Stall(msgspec.Struct, array_like=True, gc=False):
    """A time in which a process did not get the processor."""

    start: float
    end: float
    who: str = ""
    """The worker's name or the gateway's index; empty is the audit itself, of whose time nothing is known."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a viewing lies in a file."""

    path: Path
    offset: int
    size: int


class _Head(msgspec.Struct):
    key: str
    response_id: str = ""


class Shelf:
    """All transcripts of a run on disk: many thousands of answers are checked one at a time."""

    def __init__(self, paths: list[Path]) -> None:
        self._places: dict[str, list[Place]] = {}
        self._nowhere: list[Place] = []
        for path in paths:
            self._index(path)

    def _index(self, path: Path) -> None:
        decoder = msgspec.json.Decoder(_Head)
        offset = 0
        with path.open("rb") as lines:
            for line in lines:
                place = Place(path, offset, len(line))
                offset += len(line)
                head = decoder.decode(line)
                if head.response_id:
                    self._places.setdefault(head.response_id, []).append(place)
                else:
                    self._nowhere.append(place)

    def __len__(self) -> int:
        return len(self._places)

    @property
    def response_ids(self) -> list[str]:
        """All responses that anybody saw."""
        return list(self._places)

    def viewings(self, response_id: str) -> list[Viewing]:
        """Return what everybody saw of a response."""
        return list(self._read(self._places[response_id]))

    def unanswered(self) -> list[Viewing]:
        """Return the viewings that never learnt of a response: they were refused."""
        return list(self._read(self._nowhere))

    @staticmethod
    def _read(places: list[Place]) -> Iterator[Viewing]:
        decoder = msgspec.json.Decoder(Viewing)
        for place in places:
            with place.path.open("rb") as file:
                file.seek(place.offset)
                yield decoder.decode(file.read(place.size))
