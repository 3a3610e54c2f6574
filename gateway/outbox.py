"""What waits for a slow reader: bounded bytes, then merged deltas, then a verdict; pure.

A delta merges only into the one before it of the same response and epoch, so a merged event starts where
the one before ended and never crosses prologue or closing events.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from gateway.render import DeltaFrame

LIMIT = 64 * 1024
"""Bytes that wait as they are; beyond, deltas merge."""

CEILING = 1024 * 1024
"""Bytes that wait at most, merged or not; beyond, the reader is cut."""

PATIENCE = 10.0
"""Seconds a reader may take nothing at all."""


@dataclass(slots=True)
class _Frame:
    """Bytes that go out as they are."""

    payload: bytes

    def render(self) -> bytes:
        return self.payload


@dataclass(slots=True)
class _Delta:
    """One or more deltas that go out as one event."""

    key: object
    frame: DeltaFrame
    first: int
    last: int
    size: int
    texts: list[bytes] = field(default_factory=list)

    def render(self) -> bytes:
        return self.frame.merged(self.first, self.last, b"".join(self.texts))


class Outbox:
    """Frames of one connection that its transport could not take yet, in order per response.

    ``key`` names the response's attachment; times are seconds of any one clock.
    """

    __slots__ = ("_ceiling", "_limit", "_patience", "_since", "_tails", "_waiting", "merged", "size")

    def __init__(self, limit: int | None = LIMIT, ceiling: int = CEILING, patience: float = PATIENCE) -> None:
        self._limit = limit
        """None: deltas never merge."""
        self._ceiling = ceiling
        self._patience = patience
        self._waiting: deque[_Frame | _Delta] = deque()
        self._tails: dict[object, _Delta] = {}
        """The delta that the next one of the same response may join."""
        self._since = 0.0
        self.size = 0
        """Bytes that wait."""
        self.merged = 0
        """Deltas that joined another one."""

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def delta(  # noqa: PLR0913, PLR0917 - what a delta is, at every call
        self, key: object, frame: DeltaFrame, first: int, last: int, text: bytes, now: float
    ) -> None:
        """Put in the deltas ``first`` to ``last``, mostly one; ``text`` is JSON-escaped."""
        tail = self._tails.get(key)
        if tail is not None and self._may_join(tail, frame, first):
            tail.texts.append(text)
            tail.last = last
            tail.size += len(text)
            self.size += len(text)
            self.merged += 1
            return
        size = frame.overhead + len(text)
        tail = self._tails[key] = _Delta(key, frame, first, last, size, [text])
        self._put(tail, size, now)

    def frame(self, key: object, payload: bytes, now: float) -> None:
        """Put in an event that is no delta; deltas of the same response do not join across it."""
        self._tails.pop(key, None)
        self._put(_Frame(payload), len(payload), now)

    def take(self, now: float) -> bytes | None:
        """Take out the next frame, or None if nothing waits."""
        if not self._waiting:
            return None
        self._since = now
        item = self._waiting.popleft()
        if isinstance(item, _Delta):
            self.size -= item.size
            if self._tails.get(item.key) is item:
                del self._tails[item.key]
        else:
            self.size -= len(item.payload)
        return item.render()

    def clear(self) -> None:
        """Let go of all that waits."""
        self._waiting.clear()
        self._tails.clear()
        self.size = 0

    def stuck(self, now: float) -> bool:
        """Say whether the reader must be cut: it takes nothing, or by far not enough."""
        return bool(self._waiting) and (now - self._since > self._patience or self.size > self._ceiling)

    def _may_join(self, tail: _Delta, frame: DeltaFrame, first: int) -> bool:
        full = self._limit is not None and self.size >= self._limit
        return full and tail.frame is frame and tail.last + 1 == first

    def _put(self, item: _Frame | _Delta, size: int, now: float) -> None:
        if not self._waiting:
            self._since = now
        self._waiting.append(item)
        self.size += size
