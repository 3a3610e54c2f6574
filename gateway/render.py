"""From a log's entry to wire events: one pure function for live, resume, GET and late join.

An event's number follows from the log alone (see ``shared.log``), its content from the request and the
log's frozen fields.  The text of an ending is the joined deltas, byte by byte as they were logged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

import msgspec

from gateway.response import Json, Snapshot, item, item_id, part, raw_text, response_object
from shared.log import Entry, Kind, Status
from shared.logprobs import unpacked, wire
from shared.request import Request

DELTA = "response.output_text.delta"

_TERMINAL = {
    Status.COMPLETED: "response.completed",
    Status.INCOMPLETE: "response.incomplete",
    Status.CANCELLED: "response.incomplete",  # SDKs wait for ever for an event of another name
    Status.FAILED: "response.failed",
}


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the wire; its JSON lacks the ``stream_id``, which belongs to the attachment."""

    type: str
    number: int
    payload: bytes

    def on(self, stream_id: str | None) -> bytes:
        """Return the payload as the lane ``stream_id`` gets it."""
        if stream_id is None:
            return self.payload
        return b'{"stream_id":"%b",%b' % (stream_id.encode(), self.payload[1:])


def render(
    request: Request, created_ms: int, entry: Entry, told: Snapshot, after: int = -1
) -> Sequence[Event]:
    """Return the events of ``entry`` numbered beyond ``after``.

    ``told`` sums up the whole log; only an ending looks at it.
    """
    match entry.kind:
        case Kind.QUEUED:
            bodies = _queued(request, created_ms)
        case Kind.STARTED:
            bodies = _started(request, created_ms)
        case Kind.DELTA:
            frame = DeltaFrame(request.response_id, entry.epoch, scored=is_scored(request))
            payload = frame.one(entry.first, entry.piece)
            return [Event(DELTA, entry.first, payload)] if entry.first > after else []
        case Kind.HANDED:
            return []
        case Kind.ENDED:
            bodies = _ended(request, created_ms, entry, told)
        case _:
            assert_never(entry.kind)
    numbered = enumerate(bodies, entry.first)
    return [_event(number, kind, body, entry.epoch) for number, (kind, body) in numbered if number > after]


def _event(number: int, kind: str, body: Json, epoch: int) -> Event:
    whole = {"type": kind, "sequence_number": number, **body, "epoch": epoch}
    return Event(kind, number, msgspec.json.encode(whole))


def _queued(request: Request, created_ms: int) -> Iterator[tuple[str, Json]]:
    yield "response.created", {"response": response_object(request, created_ms, Snapshot())}


def _started(request: Request, created_ms: int) -> Iterator[tuple[str, Json]]:
    begun = Snapshot(started=True)
    running = response_object(request, created_ms, begun) | {"output": []}
    yield "response.in_progress", {"response": running}
    yield "response.output_item.added", {"output_index": 0, "item": item(request.response_id, begun)}
    yield "response.content_part.added", _place(request) | {"part": part(begun)}


def _ended(request: Request, created_ms: int, entry: Entry, told: Snapshot) -> Iterator[tuple[str, Json]]:
    if entry.covers > 1:
        place = _place(request)
        yield "response.output_text.done", place | {"text": raw_text(told), "logprobs": wire(told.logprobs)}
        yield "response.content_part.done", place | {"part": part(told)}
        yield "response.output_item.done", {"output_index": 0, "item": item(request.response_id, told)}
    yield _TERMINAL[told.status], {"response": response_object(request, created_ms, told)}


def _place(request: Request) -> Json:
    return {"item_id": item_id(request.response_id), "output_index": 0, "content_index": 0}


JOINED_BYTES = 16 * 1024
"""Text of a joined delta at most, about: a client's limit on messages must not be met."""


def joined(first: int, texts: Sequence[bytes]) -> Iterator[tuple[int, int, bytes]]:
    """Join successive deltas, of which ``first`` is the number of the first: (first, last, text) each."""
    begin = at = first
    portion: list[bytes] = []
    size = 0
    for at, text in enumerate(texts, first):
        portion.append(text)
        size += len(text)
        if size >= JOINED_BYTES:
            yield begin, at, b"".join(portion)
            begin, portion, size = at + 1, [], 0
    if portion:
        yield begin, at, b"".join(portion)


def is_scored(request: Request) -> bool:
    """Say whether the deltas of a request carry logprobs."""
    return request.sampling.top_logprobs is not None


class DeltaFrame:
    """The constant bytes around every delta of one response, epoch and lane: no JSON is encoded per delta.

    Where the response is ``scored``, texts may be pieces of ``shared.logprobs``, and those are encoded.
    """

    __slots__ = ("_head", "_middle", "_scored", "_tail", "overhead")

    def __init__(
        self, response_id: str, epoch: int, stream_id: str | None = None, *, scored: bool = False
    ) -> None:
        lane = "" if stream_id is None else f'"stream_id":"{stream_id}",'
        place = f'"item_id":"{item_id(response_id)}","output_index":0,"content_index":0'
        self._head = f'{{{lane}"type":"{DELTA}","sequence_number":'.encode()
        self._middle = f',{place},"delta":"'.encode()
        self._scored = scored
        self._tail = (
            f',"epoch":{epoch}}}'.encode() if scored else f'","logprobs":[],"epoch":{epoch}}}'.encode()
        )
        self.overhead = len(self._head) + len(self._middle) + len(self._tail) + 8
        """Bytes of a frame besides its text, about."""

    def one(self, number: int, text: bytes) -> bytes:
        """Render the delta ``number``; ``text`` is JSON-escaped."""
        if self._scored:
            text = _with_logprobs(text)
        return b"%b%d%b%b%b" % (self._head, number, self._middle, text, self._tail)

    def merged(self, first: int, last: int, text: bytes) -> bytes:
        """Render the deltas ``first`` to ``last`` as one event with the number of the last."""
        if first == last:
            return self.one(last, text)
        named = b'%d,"first_sequence_number":%d' % (last, first)
        if self._scored:
            text = _with_logprobs(text)
        return b"%b%b%b%b%b" % (self._head, named, self._middle, text, self._tail)


def _with_logprobs(pieces: bytes) -> bytes:
    text, logprobs = unpacked(pieces)
    return b'%b","logprobs":%b' % (text, bytes(wire(logprobs)))
