"""The store in memory: the same verbs and replies as on a server, for unit tests.

It is one process' toy by design: no expiry, no partitions, no lost replies.  The contract suite runs on it
and on real servers alike, so what a unit test learns here holds there.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from shared.log import CLOSING, PROLOGUE, SCORED, STATUS_OF, Entry, Kind, LiveMessage, Reason, Status
from shared.request import Request
from shared.store.contract import (
    Announced,
    AnnouncedGateway,
    Append,
    AppendReply,
    Attended,
    Cancelled,
    Claim,
    FinishReply,
    Followed,
    GatewayInfo,
    Leases,
    OnLive,
    Overloaded,
    Refused,
    Remembered,
    Standing,
    Submitted,
    Tail,
    Watch,
    Why,
    WorkerInfo,
)

_NOBODY = "-"
_MOST_ATTEMPTS = 3
_MOST_DEATHS = 8


@dataclass(slots=True)
class _Record:
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

    @property
    def last(self) -> int:
        return self.log[-1].upto


@dataclass
class MemoryServer:
    """What all stores of a test share.  ``now`` gives seconds and may be moved by the test."""

    now: Callable[[], float]
    leases: Leases = field(default_factory=Leases)
    records: dict[str, _Record] = field(default_factory=dict)
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

    def waiting(self, model: str) -> list[_Record]:
        """Return the unclaimed responses of a model, oldest first."""
        return [r for r in self.records.values() if r.status is Status.QUEUED and r.request.model == model]

    def place(self, record: _Record) -> int | None:
        """Return how many wait before it, while it waits."""
        line = self.waiting(record.request.model)
        return line.index(record) if record in line else None

    def median(self, model: str) -> float | None:
        """Return the median of the model's measured runs, seconds."""
        times = self.times.get(model)
        return statistics.median(times) if times else None

    def write(self, record: _Record, entry: Entry) -> int:
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
        record: _Record,
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

    def due(self, record: _Record) -> Reason | None:
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


class MemoryGatewayStore:
    """GatewayStore in memory."""

    def __init__(self, server: MemoryServer) -> None:
        self._server = server
        self._name = ""

    def partition_for(self, principal: str, idempotency_key: str, draw: int) -> int:
        """Return the only partition."""
        del principal, idempotency_key, draw
        return 0

    async def submit(
        self, request: Request, watcher: str | None, bound: int
    ) -> Submitted | Overloaded | Refused:
        """Check the bound, write request and log, enqueue and ring the bell."""
        server, now = self._server, self._server.ms()
        scoped = (request.principal, request.idempotency_key)
        known = server.keys.get(scoped) if request.idempotency_key else None
        record = server.records.get(known or request.response_id)
        if record is not None:
            place = server.place(record) or 0
            return Submitted(record.request.response_id, record.created, duplicate=True, place=place)
        waiting = len(server.waiting(request.model))
        if waiting >= bound:
            return Overloaded(waiting, server.median(request.model))
        attached = {_NOBODY: now}
        if watcher is not None:
            attached[watcher] = now + round(server.leases.attachment * 1000)
        server.records[request.response_id] = _Record(
            request,
            now,
            now + round(request.queue_seconds * 1000),
            [Entry(0, 1, Kind.QUEUED, 1, now)],
            attached,
        )
        if request.idempotency_key:
            server.keys[scoped] = request.response_id
        server.ring()
        return Submitted(request.response_id, now, duplicate=False, place=waiting)

    async def cancel(self, response_id: str, principal: str) -> Cancelled | Refused:
        """End the response at once."""
        record = self._mine(response_id, principal)
        if record is None:
            return Refused.UNKNOWN
        if record.status.terminal:
            return Cancelled(record.status, already=True)
        self._server.end(record, Reason.CANCELLED)
        return Cancelled(record.status, already=False)

    async def delete(self, response_id: str, principal: str) -> bool:
        """End the response if it runs and remove all of it."""
        server, record = self._server, self._mine(response_id, principal)
        if record is not None and not record.status.terminal:
            server.end(record, Reason.CANCELLED)
        had = record is not None or await self.recall(response_id, principal) is not None
        if had:
            server.records.pop(response_id, None)
            server.conversations.pop(response_id, None)
        return had

    async def recall(self, response_id: str, principal: str) -> Remembered | None:
        """Return what a stored response has left."""
        found = self._server.conversations.get(response_id)
        return found if found is not None and found.request.principal == principal else None

    async def follow(
        self, response_id: str, principal: str, watcher: str | None, after: int, epoch: int | None
    ) -> Followed | Refused:
        """Attach and return what comes after ``after``."""
        record = self._mine(response_id, principal)
        if record is None:
            return Refused.UNKNOWN
        if not record.log:
            return Refused.GONE
        refused = _refuse(record, after + 1, epoch)
        if refused is not None:
            return refused
        if watcher is not None:
            self._attach(record, watcher)
        place = self._server.place(record)
        return Followed(
            request=record.request,
            created_ms=record.created,
            status=record.status,
            last=record.last,
            epoch=record.epoch,
            entries=tuple(entry for entry in record.log if entry.upto > after + 1),
            place=place,
            median_run_seconds=None if place is None else self._server.median(record.request.model),
        )

    async def attend(self, watches: Sequence[Watch]) -> Sequence[Attended | None]:
        """Refresh attachments and say where each log ends."""
        return [self._attend(watch) for watch in watches]

    def _attend(self, watch: Watch) -> Attended | None:
        record = self._server.records.get(watch.response_id)
        if record is None or not record.log:
            return None
        self._attach(record, watch.watcher)
        return Attended(record.status, record.last, record.epoch)

    def _attach(self, record: _Record, watcher: str) -> None:
        record.attached[watcher] = self._server.ms() + round(self._server.leases.attachment * 1000)

    async def detach(self, response_id: str, watcher: str) -> None:
        """Say that the watcher has left."""
        record = self._server.records.get(response_id)
        if record is None:
            return
        if watcher in record.attached:
            record.attached[watcher] = self._server.ms()
        nobody = max(record.attached.values()) <= self._server.ms()
        if record.request.keep == 0 and nobody and not record.status.terminal:
            self._server.end(record, Reason.LEFT)

    async def workers(self) -> Sequence[Announced]:
        """Return all announced workers."""
        now = self._server.now()
        return [Announced(info, now < until, until) for until, info in self._server.workers.values()]

    async def gateways(self) -> Sequence[AnnouncedGateway]:
        """Return all announced gateways."""
        now = self._server.now()
        return [AnnouncedGateway(info, now < until, until) for until, info in self._server.gateways.values()]

    async def announce(self, info: GatewayInfo) -> None:
        """Make this gateway known."""
        until = self._server.now() + self._server.leases.lease
        self._server.gateways[info.gateway] = (until, info)
        self._name = info.gateway

    async def retire(self) -> None:
        """Take the announcement back."""
        self._server.gateways.pop(self._name, None)

    async def waiting(self, model: str) -> int:
        """Count the unclaimed."""
        return len(self._server.waiting(model))

    async def sweep(self, model: str) -> int:
        """End what passed its deadline, and what of this model was left while it waited."""
        ended = 0
        for record in self._server.records.values():
            if record.status.terminal:
                continue
            late = record.deadline < self._server.ms()
            waits = record.status is Status.QUEUED and record.request.model == model
            reason = self._server.due(record) if late or waits else None
            if reason is not None:
                self._server.end(record, reason)
                ended += 1
        return ended

    async def ping(self) -> None:
        """Do nothing: memory always answers."""

    def _mine(self, response_id: str, principal: str) -> _Record | None:
        record = self._server.records.get(response_id)
        return record if record is not None and record.request.principal == principal else None


def _refuse(record: _Record, next_number: int, cursor: int | None) -> Refused | None:
    """Return why a reader at ``next_number`` cannot be served, if so."""
    if next_number > record.last:
        if record.status.terminal:
            return Refused.OUT_OF_RANGE if cursor is None else Refused.RESET
        newer = cursor is not None and record.epoch > cursor
        return Refused.RESET if newer else Refused.BEHIND
    if cursor is not None and next_number > PROLOGUE:
        covering = next(e for e in record.log if e.upto >= next_number and e.kind is not Kind.HANDED)
        if covering.epoch != cursor:
            return Refused.RESET
    return None


class MemoryWorkerStore:
    """WorkerStore in memory, for one worker."""

    def __init__(self, server: MemoryServer, *, worker: str, model: str, build: str) -> None:
        self._server = server
        self._worker = worker
        self._model = model
        self._build = build
        self._rung = asyncio.Event()
        server.bells.append(self._rung)

    @property
    def link(self) -> int:
        """Return the only link."""
        return 1

    async def claim(self, room: int, solo: Callable[[], bool], fresh: int | None = None) -> Sequence[Claim]:
        """Take up to ``room`` responses, new ones while below ``fresh``."""
        claims: list[Claim] = []
        for record in self._takeable():
            most = room if record.pending is not None or fresh is None else min(room, fresh)
            if len(claims) >= most or any(claim.attempts > 1 for claim in claims):
                break
            claim = self._claim(record, alone=solo() and not claims)
            if claim is not None:
                claims.append(claim)
        return claims

    def _takeable(self) -> list[_Record]:
        expired = self._server.ms() - round(self._server.leases.lease * 1000)
        mine = [
            r
            for r in self._server.records.values()
            if r.request.model == self._model and not r.status.terminal
        ]
        handed = [r for r in mine if r.pending == _NOBODY]
        lapsed = [r for r in mine if r.pending not in (None, _NOBODY) and r.pending_since <= expired]
        return handed + lapsed + [r for r in mine if r.pending is None]

    def _claim(self, record: _Record, *, alone: bool) -> Claim | None:
        server, now = self._server, self._server.ms()
        reason = server.due(record)
        if reason is None and record.last > record.claimed_at:
            record.attempts = 0
        if reason is None and (record.attempts >= _MOST_ATTEMPTS or record.deaths >= _MOST_DEATHS):
            reason = Reason.WORKER_LOST
        if reason is not None:
            server.end(record, reason)
            return None
        if (record.attempts > 0 and not alone) or not self._fits(record, now):
            record.pending = _NOBODY
            return None
        return self._take(record, now)

    def _fits(self, record: _Record, now: int) -> bool:
        if record.status is not Status.RUNNING or record.build == self._build:
            return True
        record.lost = record.lost if record.lost is not None else now
        return now >= record.lost + round(self._server.leases.fit * 1000)

    def _take(self, record: _Record, now: int) -> Claim:
        first = record.status is Status.QUEUED
        differs = not first and record.build != self._build
        marked = f"{record.build} -> {self._build}" if differs else ""
        record.epoch = max(record.epoch + 1, now)
        reclaimed = record.owner != ""
        record.owner = secrets.token_hex(8)
        record.pending, record.pending_since = self._worker, now
        record.status, record.build, record.lost = Status.RUNNING, self._build, None
        record.attempts += 1
        record.deaths += 1
        if first:
            record.deadline = now + round(record.request.run_seconds * 1000)
        covers = PROLOGUE - 1 if first else 0
        entry = Entry(
            record.epoch,
            record.last + covers,
            Kind.STARTED if first else Kind.HANDED,
            covers,
            now,
            owner=self._worker,
            marked=marked,
        )
        self._server.write(record, entry)
        record.claimed_at = record.last
        started = next(e.at for e in record.log if e.kind is Kind.STARTED)
        return Claim(
            request=record.request,
            queue_id=record.request.response_id,
            nonce=record.owner,
            epoch=record.epoch,
            upto=record.last,
            created_ms=record.created,
            queued_ms=started - record.created,
            attempts=record.attempts,
            entries=tuple(record.log),
            reclaimed=reclaimed,
        )

    async def append(self, batch: Sequence[Append], link: int | None = None) -> Sequence[AppendReply]:
        """Log and publish; one reply each."""
        del link
        return [self._append(append) for append in batch]

    def _append(self, append: Append) -> AppendReply:
        record = self._server.records.get(append.response_id)
        if record is None or not record.log:
            return AppendReply.GONE
        tail = record.log[-1]
        if (append.epoch, append.upto) <= (tail.epoch, tail.upto):
            return AppendReply.REFUSED
        entry = Entry(
            append.epoch,
            append.upto,
            Kind.DELTA,
            1,
            text=append.text,
            ids=append.ids,
            prompt_tokens=append.prompt_tokens,
            cached_tokens=append.cached_tokens,
            logprobs=append.logprobs,
        )
        return AppendReply.OK if self._server.write(record, entry) else AppendReply.UNWATCHED

    async def why(self, claims: Sequence[Claim], link: int | None = None) -> Sequence[Why]:
        """Say how each claim stands."""
        del link
        return [self._why(claim) for claim in claims]

    def _why(self, claim: Claim) -> Why:
        record = self._server.records.get(claim.response_id)
        if record is None or not record.log:
            return Why(Standing.GONE, 0)
        if record.status.terminal:
            return Why(Standing.ENDED, 0)
        if record.owner != claim.nonce:
            return Why(Standing.FENCED, 0)
        return Why(Standing.OURS, record.last)

    async def renew(self, claims: Sequence[Claim]) -> Sequence[Standing]:
        """Extend the leases that are ours."""
        return [self._renew(claim) for claim in claims]

    def _renew(self, claim: Claim) -> Standing:
        standing = self._why(claim).standing
        if standing is not Standing.OURS:
            return standing
        record = self._server.records[claim.response_id]
        record.pending, record.pending_since = self._worker, self._server.ms()
        keep = record.request.keep
        left = keep >= 0 and max(record.attached.values()) + round(keep * 1000) < self._server.ms()
        return Standing.LEFT if left else Standing.OURS

    async def release(self, claim: Claim) -> None:
        """Hand over."""
        if self._why(claim).standing is Standing.OURS:
            record = self._server.records[claim.response_id]
            record.owner, record.pending = "", _NOBODY
            record.attempts -= 1
            record.deaths -= 1
            self._server.ring()

    async def finish(
        self, claim: Claim, upto: int, reason: Reason, message: str = "", tail: Tail | None = None
    ) -> FinishReply:
        """Write the ending."""
        record = self._server.records.get(claim.response_id)
        if record is None or not record.log:
            return FinishReply.GONE
        if record.status.terminal:
            return FinishReply.OK if record.owner == claim.nonce else FinishReply.ENDED
        if record.owner != claim.nonce:
            return FinishReply.FENCED
        if record.last != upto:
            return FinishReply.BEHIND
        self._server.end(record, reason, message, by_owner=True, tail=tail)
        self._server.times.setdefault(self._model, []).append((self._server.ms() - record.created) / 1000)
        return FinishReply.OK

    async def announce(self, info: WorkerInfo) -> None:
        """Make this worker known."""
        self._server.workers[info.worker] = (self._server.now() + self._server.leases.lease, info)

    async def retire(self) -> None:
        """Take the announcement back."""
        self._server.workers.pop(self._worker, None)

    async def bell(self, seconds: float) -> None:
        """Sleep until work may have come."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        self._rung.clear()

    async def ping(self) -> None:
        """Do nothing: memory always answers."""


class MemoryLive:
    """Live in memory: delivers within the call that writes."""

    def __init__(self, server: MemoryServer, on_live: OnLive) -> None:
        self._server = server
        self._on_live = on_live

    @property
    def connected(self) -> bool:
        """Say that a link stands."""
        return True

    async def subscribe(self, response_id: str) -> None:
        """Listen."""
        self._server.listeners.setdefault(response_id, []).append(self._on_live)

    def unsubscribe(self, response_id: str) -> None:
        """Stop listening."""
        listeners = self._server.listeners.get(response_id, [])
        if self._on_live in listeners:
            listeners.remove(self._on_live)


def lose_tail(server: MemoryServer, response_id: str, entries: int) -> None:
    """Cut the last entries off a log, as a server does that comes back without them (for tests)."""
    record = server.records[response_id]
    del record.log[len(record.log) - entries :]
