"""The gateway's verbs in memory."""

from __future__ import annotations

from collections.abc import Sequence

from shared.log import PROLOGUE, Entry, Kind, Reason, Status
from shared.request import Request
from shared.store.contract import (
    Announced,
    AnnouncedGateway,
    Attended,
    Cancelled,
    Followed,
    GatewayInfo,
    Overloaded,
    Refused,
    Remembered,
    Submitted,
    Watch,
)
from shared.store.memory.server import NOBODY, MemoryServer, Record


class MemoryGatewayStore:
    """GatewayStore in memory."""

    def __init__(self, server: MemoryServer) -> None:
        self._server = server
        self._name = ""

    def partition_for(self, principal: str, idempotency_key: str, draw: int) -> int:
        """Return the only partition."""
        del principal, idempotency_key, draw
        return 0

    async def partition_with_room(self, model: str, bound: int, draw: int) -> int | None:
        """Return None: there is one partition, and it is full."""
        del model, bound, draw
        return None

    async def submit(
        self, request: Request, watcher: str | None, bound: int
    ) -> Submitted | Overloaded | Refused:
        """Check the bound, write request and log, enqueue and ring the bell."""
        server, now = self._server, self._server.ms()
        scoped = (request.principal, request.idempotency_key)
        known = server.keys.get(scoped) if request.idempotency_key else None
        record = server.records.get(known or request.response_id)
        if record is not None and not record.deleted:
            place = server.place(record) or 0
            return Submitted(record.request.response_id, record.created, duplicate=True, place=place)
        waiting = len(server.waiting(request.model))
        if waiting >= bound:
            return Overloaded(waiting, server.median(request.model))
        attached = {NOBODY: now}
        if watcher is not None:
            attached[watcher] = now + round(server.leases.attachment * 1000)
        server.records[request.response_id] = Record(
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
        runs = record is not None and not record.status.terminal
        if record is not None and runs:
            watched = max(record.attached.values()) > server.ms()
            server.end(record, Reason.CANCELLED)
            record.deleted = watched
        had = record is not None or await self.recall(response_id, principal) is not None
        if had:
            server.conversations.pop(response_id, None)
        if record is not None and not record.deleted:
            del server.records[response_id]
        return had

    async def recall(self, response_id: str, principal: str) -> Remembered | None:
        """Return what a stored response has left."""
        found = self._server.conversations.get(response_id)
        return found if found is not None and found.request.principal == principal else None

    async def follow(
        self, response_id: str, principal: str, watcher: str | None, after: int, epoch: int | None
    ) -> Followed | Refused:
        """Attach and return what comes after ``after``."""
        record = self._mine(response_id, principal, watcher)
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

    def _attach(self, record: Record, watcher: str) -> None:
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

    def _mine(self, response_id: str, principal: str, watcher: str | None = None) -> Record | None:
        record = self._server.records.get(response_id)
        if record is None or (record.deleted and watcher not in record.attached):
            return None
        return record if record.request.principal == principal else None


def _refuse(record: Record, next_number: int, cursor: int | None) -> Refused | None:
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
