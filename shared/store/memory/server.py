"""What a server holds, in memory, and what the scripts of several verbs do alike."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

from shared.log import CLOSING, SCORED, STATUS_OF, Entry, Kind, LiveMessage, Reason, Status
from shared.request import Request
from shared.store.contract import GatewayInfo, Leases, OnLive, Remembered, Tail, WorkerInfo

NOBODY = "-"
"""No watcher and no worker is called so."""


@dataclass(slots=True)
class Record:
    """One response: what hash, log, attachments and pending entry hold on a server."""

    request: Request
    created: int
    deadline: int
    log: list[Entry]
    attached: dict[str, int]
    status: Status = Status.QUEUED
    epoch: int = 0
    owner: str = ""
    build: str = ""
    lost: int | None = None
    attempts: int = 0
    deaths: int = 0
    claimed_at: int = 1
    pending: str | None = None
    """Worker for which the queue entry is pending; None while undelivered."""
    pending_since: int = 0
    deleted: bool = False
    """Only who was attached before may still read it."""

    @property
    def last(self) -> int:
        """Where the log ends."""
        return self.log[-1].upto


@dataclass
class MemoryServer:
    """What all stores of a test share.  ``now`` gives seconds and may be moved by the test."""

    now: Callable[[], float]
    leases: Leases = field(default_factory=Leases)
    records: dict[str, Record] = field(default_factory=dict)
    keys: dict[tuple[str, str], str] = field(default_factory=dict)
    times: dict[str, list[float]] = field(default_factory=dict)
    workers: dict[str, tuple[float, WorkerInfo]] = field(default_factory=dict)
    conversations: dict[str, Remembered] = field(default_factory=dict)
    gateways: dict[str, tuple[float, GatewayInfo]] = field(default_factory=dict)
    listeners: dict[str, list[OnLive]] = field(default_factory=dict)
    bells: list[asyncio.Event] = field(default_factory=list)

    def ms(self) -> int:
        """Return the server's clock."""
        return round(self.now() * 1000)

    def waiting(self, model: str) -> list[Record]:
        """Return the unclaimed responses of a model, oldest first."""
        return [r for r in self.records.values() if r.status is Status.QUEUED and r.request.model == model]

    def place(self, record: Record) -> int | None:
        """Return how many wait before it, while it waits."""
        line = self.waiting(record.request.model)
        return line.index(record) if record in line else None

    def median(self, model: str) -> float | None:
        """Return the median of the model's measured runs, seconds."""
        times = self.times.get(model)
        return statistics.median(times) if times else None

    def write(self, record: Record, entry: Entry) -> int:
        """Add an entry and publish it; return how many listened."""
        record.log.append(entry)
        if entry.logprobs:
            message = LiveMessage(entry.upto, 0, SCORED, entry.epoch, entry.piece)
        else:
            said = entry.piece if entry.kind is Kind.DELTA else (entry.reason or "").encode()
            message = LiveMessage(entry.upto, entry.covers, entry.kind.encode(), entry.epoch, said)
        listeners = self.listeners.get(record.request.response_id, [])
        for listener in list(listeners):
            listener(record.request.response_id, message)
        return len(listeners)

    def end(
        self,
        record: Record,
        reason: Reason,
        message: str = "",
        *,
        by_owner: bool = False,
        tail: Tail | None = None,
    ) -> None:
        """Write the terminal entry, under a new epoch unless the owner does it."""
        tail = tail or Tail()
        covers = 1 if record.status is Status.QUEUED else CLOSING
        if record.status is not Status.QUEUED and not by_owner:
            record.epoch = max(record.epoch + 1, self.ms())
            record.owner = ""
        record.status = STATUS_OF[reason]
        entry = Entry(
            record.epoch,
            record.last + covers,
            Kind.ENDED,
            covers,
            self.ms(),
            ids=tail.ids,
            prompt_tokens=tail.prompt_tokens,
            cached_tokens=tail.cached_tokens,
            reason=reason,
            message=message,
        )
        self.write(record, entry)
        if record.request.stored and record.status is not Status.FAILED:
            text = "".join(each.text for each in record.log)
            self.conversations[record.request.response_id] = Remembered(record.request, text)

    def due(self, record: Record) -> Reason | None:
        """Return the ending that is due by itself."""
        if record.deadline < self.ms():
            return Reason.QUEUE_TIMEOUT if record.status is Status.QUEUED else Reason.TIME
        keep = record.request.keep
        if keep >= 0 and max(record.attached.values()) + round(keep * 1000) < self.ms():
            return Reason.LEFT
        return None

    def ring(self) -> None:
        """Wake idle workers."""
        for bell in self.bells:
            bell.set()


def lose_tail(server: MemoryServer, response_id: str, entries: int) -> None:
    """Cut the last entries off a log, as a server does that comes back without them (for tests)."""
    record = server.records[response_id]
    del record.log[len(record.log) - entries :]
