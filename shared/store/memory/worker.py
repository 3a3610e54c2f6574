"""The worker's verbs in memory."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Sequence

from shared.log import PROLOGUE, Entry, Kind, Reason, Status
from shared.store.contract import (
    MOST_ATTEMPTS,
    MOST_DEATHS,
    Append,
    AppendReply,
    Claim,
    FinishReply,
    Standing,
    Tail,
    Why,
    WorkerInfo,
)
from shared.store.memory.server import NOBODY, MemoryServer, Record


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

    def _takeable(self) -> list[Record]:
        expired = self._server.ms() - round(self._server.leases.lease * 1000)
        mine = [
            r
            for r in self._server.records.values()
            if r.request.model == self._model and not r.status.terminal
        ]
        handed = [r for r in mine if r.pending == NOBODY]
        lapsed = [r for r in mine if r.pending not in (None, NOBODY) and r.pending_since <= expired]
        return handed + lapsed + [r for r in mine if r.pending is None]

    def _claim(self, record: Record, *, alone: bool) -> Claim | None:
        server, now = self._server, self._server.ms()
        reason = server.due(record)
        if reason is None and record.last > record.claimed_at:
            record.attempts = 0
        if reason is None and (record.attempts >= MOST_ATTEMPTS or record.deaths >= MOST_DEATHS):
            reason = Reason.WORKER_LOST
        if reason is not None:
            server.end(record, reason)
            return None
        if (record.attempts > 0 and not alone) or not self._fits(record, now):
            record.pending = NOBODY
            return None
        return self._take(record, now)

    def _fits(self, record: Record, now: int) -> bool:
        if record.status is not Status.RUNNING or record.build == self._build:
            return True
        record.lost = record.lost if record.lost is not None else now
        return now >= record.lost + round(self._server.leases.fit * 1000)

    def _take(self, record: Record, now: int) -> Claim:
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
            record.owner, record.pending = "", NOBODY
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
