"""Where one reader stands in one log: what to deliver, what to drop, when to read the log; pure.

A number says how far the reader has come, an epoch under whose pen.  The live channel may lose, repeat
and reorder messages; the log never does, so whatever does not fit exactly is asked of the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from shared.log import PROLOGUE, SCORED, Entry, Kind, LiveMessage
from shared.store.contract import Followed

MAX_HELD = 256
"""Live messages kept while the log is read; beyond it the log is read once more instead."""


_SHOWN = frozenset({b"q", b"s", b"d"})
"""Kinds of live messages whose events can be made from them alone."""


class State(Enum):
    """What the reader does."""

    READING = auto()  # the log is being read, or must be
    LIVE = auto()  # it has caught up; live messages count
    ENDED = auto()  # the ending was delivered, nothing more comes


class Verdict(Enum):
    """What to do with a live message."""

    DELIVER = auto()
    DUPLICATE = auto()
    HELD = auto()  # kept until the log was read
    GAP = auto()  # something is missing: read the log
    ENDING = auto()  # it fits, but its events need the whole log: read it


@dataclass(frozen=True, slots=True)
class Lost:
    """What the reader has seen is not what the log holds; it cannot be continued."""


class Follower:
    """One reader of one log."""

    __slots__ = ("_held", "_joined_at", "_overflown", "cursor_epoch", "epoch", "next", "state")

    def __init__(self, after: int, cursor_epoch: int | None) -> None:
        self.next = after + 1
        """Number of the next event to deliver."""
        self.cursor_epoch = cursor_epoch
        """Epoch under which the last event was written, if known."""
        self.epoch = cursor_epoch or 0
        """Newest epoch known; writers of older ones were given up."""
        self.state = State.READING
        self._joined_at = self.next
        self._held: list[LiveMessage] = []
        self._overflown = False

    def accept(self, message: LiveMessage) -> Verdict:
        """Judge a live message, and move on if it is to be delivered."""
        if self.state is not State.LIVE:
            return self._hold(message)
        if message.epoch != self.epoch:
            return self._judge_other_epoch(message)
        if message.upto <= self.next:
            return Verdict.DUPLICATE
        if message.upto - message.covers != self.next:
            return self._judge_scored(message)
        return self._take(message)

    def must_read(self) -> None:
        """Forget that it is live: the link was cut, or nothing was heard for long."""
        if self.state is State.LIVE:
            self.state = State.READING

    def read(self, log: Followed) -> Sequence[Entry] | Lost:
        """Take what the log holds beyond the last event; return the entries to deliver, in order.

        Live messages that were held meanwhile are to be accepted again (:meth:`release`).
        """
        if self.state is State.ENDED:
            return ()
        if log.status.terminal and self.next >= log.last:
            return self._after_the_end(log)
        entries = [entry for entry in log.entries if entry.upto > self.next]
        if not (self._contiguous(entries) and self._is_our_lineage(log.entries)):
            return Lost()
        for entry in entries:
            self.next = entry.upto
            if entry.covers:  # a later claim writes no event: the last one is still its predecessor's
                self.cursor_epoch = entry.epoch
        self.epoch = max(self.epoch, log.epoch, self.cursor_epoch or 0)
        ended = bool(entries) and entries[-1].kind is Kind.ENDED
        self.state = State.ENDED if ended else State.LIVE
        return entries

    def release(self) -> Sequence[LiveMessage]:
        """Return the held messages, to be accepted again now that the log was read."""
        held, self._held = self._held, []
        if self._overflown:
            self._overflown = False
            self.must_read()
            return ()
        return held

    def _hold(self, message: LiveMessage) -> Verdict:
        if self.state is State.ENDED:
            return Verdict.DUPLICATE
        if len(self._held) == MAX_HELD:
            self._overflown = True
        else:
            self._held.append(message)
        return Verdict.HELD

    def _judge_other_epoch(self, message: LiveMessage) -> Verdict:
        """Drop what a given-up owner says; of a new one only a claim or an ending may come first."""
        if message.epoch < self.epoch:
            return Verdict.DUPLICATE
        if message.kind in (b"d", SCORED) or message.upto - message.covers != self.next:
            return self._must_ask(Verdict.GAP)
        return self._take(message)

    def _judge_scored(self, message: LiveMessage) -> Verdict:
        """Take a delta with logprobs, which says that it covers nothing; anything else here is a gap."""
        if message.kind != SCORED or message.upto - 1 != self.next:
            return self._must_ask(Verdict.GAP)
        self.next, self.cursor_epoch = message.upto, message.epoch
        return Verdict.DELIVER

    def _take(self, message: LiveMessage) -> Verdict:
        if message.kind == b"e":
            return self._must_ask(Verdict.ENDING)
        if message.covers and message.kind not in _SHOWN:
            return self._must_ask(Verdict.GAP)  # a newer version's: the log says whether it can be read
        self.epoch = message.epoch
        if message.covers:
            self.next, self.cursor_epoch = message.upto, message.epoch
        return Verdict.DELIVER

    def _must_ask(self, verdict: Verdict) -> Verdict:
        self.state = State.READING
        return verdict

    def _after_the_end(self, log: Followed) -> Sequence[Entry] | Lost:
        """Judge a reader that claims to have seen all of an ended log.

        One that resumed after the terminal event is right; one that has followed without meeting the
        ending read another text than the log now holds.
        """
        if self.next > min(self._joined_at, log.last):
            return Lost()
        self.state = State.ENDED
        return ()

    def _is_our_lineage(self, entries: Sequence[Entry]) -> bool:
        """Say whether the last event was written by whom the reader has it from.

        The store checks that when it is given a cursor; a whole log, as it is read at an ending, it is not.
        """
        if self.cursor_epoch is None or self.next <= PROLOGUE:
            return True
        covering = (entry.epoch for entry in entries if entry.first < self.next <= entry.upto)
        return next(covering, self.cursor_epoch) == self.cursor_epoch

    def _contiguous(self, entries: Sequence[Entry]) -> bool:
        at = self.next
        for entry in entries:
            if entry.first > at:
                return False
            at = entry.upto
        return True
