"""How a server-sent stream spells what it is told; pure.

Here are the events as they are; the older APIs' chunks, which say the same in other words, have their own file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from gateway.errors import WireError
from gateway.render import DELTA, DeltaFrame, Event


def sse(kind: str, number: int, payload: bytes) -> bytes:
    """Frame one event (WHATWG HTML, server-sent events); the id is the cursor of a reconnect."""
    return b"event: %b\nid: %d\ndata: %b\n\n" % (kind.encode(), number, payload)


class SseFrame(DeltaFrame):
    """A delta's constant bytes, as a server-sent event."""

    __slots__ = ()

    def one(self, number: int, text: bytes) -> bytes:
        """Render one delta."""
        return sse(DELTA, number, super().one(number, text))

    def merged(self, first: int, last: int, text: bytes) -> bytes:
        """Render several deltas as one event."""
        return self.one(last, text) if first == last else sse(DELTA, last, super().merged(first, last, text))


class Dialect(Protocol):
    """How a stream spells what it is told."""

    @property
    def resumable(self) -> bool:
        """Whether a client can go on after the last event it has."""

    def frame(self, epoch: int, *, scored: bool) -> DeltaFrame:
        """Return the constant bytes around the deltas of an epoch; ``scored`` ones carry logprobs."""

    def events(self, events: Sequence[Event]) -> Iterable[bytes]:
        """Spell events that are no deltas."""

    def error(self, error: WireError) -> bytes:
        """Spell what ends a stream that has no ending."""


class Events:
    """The events as they are, each with its number as its id."""

    resumable = True

    def __init__(self, response_id: str) -> None:
        self._response_id = response_id

    def frame(self, epoch: int, *, scored: bool) -> DeltaFrame:
        """Return the constant bytes around the deltas of an epoch; ``scored`` ones carry logprobs."""
        return SseFrame(self._response_id, epoch, scored=scored)

    @staticmethod
    def events(events: Sequence[Event]) -> Iterator[bytes]:
        """Spell events that are no deltas."""
        return (sse(event.type, event.number, event.payload) for event in events)

    @staticmethod
    def error(error: WireError) -> bytes:
        """Spell the error as the last event."""
        return b"event: error\ndata: %b\n\n" % error.datum()
