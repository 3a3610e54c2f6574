"""One reader of one response, as the hub keeps it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import WireError
from gateway.follower import Follower
from gateway.render import Event
from gateway.times import Viewing
from shared.request import Request

Detach = Callable[[bool], None]
"""Ends an attachment when the client or the response is gone; it is told whether the client has left."""


class Reader(Protocol):
    """Whom an attachment delivers to.  No method may wait."""

    def joined(self, request: Request) -> None:
        """Learn what it follows, before anything of it is delivered."""

    def delta(self, epoch: int, number: int, text: bytes) -> None:
        """Take one delta; ``text`` is JSON-escaped, or a piece of ``shared.logprobs`` if they were asked for."""

    def replay(self, epoch: int, first: int, texts: Sequence[bytes]) -> None:
        """Take successive deltas out of the log, beginning with the number ``first``; texts as in ``delta``."""

    def events(self, events: Sequence[Event]) -> None:
        """Take events that are no deltas."""

    def ended(self) -> None:
        """Learn that the ending was delivered; nothing more comes."""

    def failed(self, error: WireError) -> None:
        """Learn that the response cannot be followed; nothing more comes."""


@dataclass(slots=True, eq=False)
class Attachment:
    """One reader of one response."""

    response_id: str
    principal: str
    watcher: str
    reader: Reader
    times: Viewing
    follower: Follower
    asked: bool = False
    """Its reader has just asked for the response, so that nothing of it was shown to anybody."""
    request: Request | None = None
    created_ms: int = 0
    reading: bool = False
    ending: bool = False
    """The live channel has told of the ending."""
    gone: bool = False
    heard: float = 0.0
    attended: float = 0.0
    read_at: float = float("inf")
    """When a read that failed is due again; never before the first."""
    failures: int = 0
