"""One reader of one response, as the hub keeps it: turns messages and logs into what the reader gets; pure."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import Code, WireError
from gateway.follower import Follower, Lost
from gateway.refusal import refusal
from gateway.render import Event, render
from gateway.response import Snapshot
from gateway.times import Viewing
from shared.log import SCORED, Entry, Kind, LiveMessage
from shared.request import Request
from shared.store.contract import Followed, Refused

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

    def deliver(self, message: LiveMessage, now: float) -> None:
        """Deliver a live message that fits: a delta or a claim, whose events need nothing that it lacks."""
        self.heard = now
        if message.kind in (b"d", SCORED):
            self.times.delta(now)
            self.reader.delta(message.epoch, message.upto - 1, message.text)
        elif message.kind == b"s" and self.request is not None:
            entry = Entry(message.epoch, message.upto, Kind.STARTED, message.covers)
            self.times.started(now)
            self.reader.events(render(self.request, self.created_ms, entry, Snapshot()))

    def catch_up(self, log: Followed, told: Snapshot, now: float) -> int | Lost:
        """Deliver what the reader misses of a log, which ``told`` sums up; return how many deltas that was."""
        begin = self.follower.next
        entries = self.follower.read(log)
        if isinstance(entries, Lost):
            return entries
        if self.request is None:
            self.times.joined(log.request, now)
            self.reader.joined(log.request)
        self.request, self.created_ms = log.request, log.created_ms
        self.heard = self.attended = now
        for (kind, epoch), run in itertools.groupby(entries, lambda entry: (entry.kind, entry.epoch)):
            if kind is Kind.DELTA:
                deltas = list(run)
                self.times.replayed(now)
                self.reader.replay(epoch, deltas[0].first, [each.piece for each in deltas])
                continue
            for entry in run:
                if kind is Kind.STARTED:
                    self.times.started(now)
                self.reader.events(render(log.request, log.created_ms, entry, told, begin - 1))
        return sum(entry.kind is Kind.DELTA for entry in entries)

    def end(self, told: Snapshot, now: float) -> None:
        """Tell the reader that it has all."""
        self.times.ended(told, now)
        self.reader.ended()

    def fail(self, error: WireError, now: float) -> None:
        """Tell the reader that the response cannot be followed, or not to its ending."""
        if self.request is None:
            self.times.refused()
        else:
            self.times.left(now)
        self.reader.failed(error)

    def why(self, refused: Refused) -> WireError:
        """Say a store's refusal as this reader has to take it."""
        if refused is Refused.UNREADABLE:
            return refusal(refused)
        if self.request is not None:
            return WireError(Code.RESUME_UNAVAILABLE)
        if self.asked:  # the server lost it at once: to ask again doubles nothing
            return WireError(Code.BACKEND_UNAVAILABLE, retry_after=2)
        return refusal(refused)

    def is_due(self, now: float, silence: float, refresh: float) -> bool:
        """Say whether it was heard of last so many seconds ago, or its lease renewed so many."""
        return now - self.attended >= refresh or now - max(self.heard, self.attended) >= silence

    def put_off(self, now: float, first: float, longest: float) -> None:
        """Say when it is read again if the read that now begins comes to nothing.

        That is after ``first`` seconds, doubled with each failure before, up to ``longest``.
        """
        self.read_at = now + min(longest, first * 2**self.failures)
        self.failures = min(self.failures + 1, 10)
