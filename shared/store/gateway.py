"""The gateway's verbs on a Redis or Valkey server."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from typing import Any

import msgspec

from shared.log import partition_of
from shared.request import Request, encode
from shared.store import announcements, keys
from shared.store.call import ServerError
from shared.store.codec import Unreadable, decode_log, decode_request, decode_status, milliseconds, text_of
from shared.store.contract import (
    DELETED_SECONDS,
    Announced,
    AnnouncedGateway,
    Attended,
    Cancelled,
    Followed,
    GatewayInfo,
    Leases,
    Overloaded,
    Refused,
    Remembered,
    StoreUnavailable,
    Submitted,
    Watch,
)
from shared.store.link import Server
from shared.store.scripts import load_scripts
from shared.store.spread import all_of

_SWEEP_TERM_MS = 1500
_SWEEP_MOST = 256
_CONSUMER_FORGOTTEN_MS = 3_600_000


class RedisGatewayStore:
    """GatewayStore over one link.  See the contract for what each verb promises."""

    def __init__(self, link: Server, *, name: str, partitions: int = 1, leases: Leases | None = None) -> None:
        self._link = link
        self._name = name
        self._partitions = partitions
        self._scripts = load_scripts()
        leases = leases or Leases()
        self._lease = milliseconds(leases.lease)
        self._attachment = milliseconds(leases.attachment)
        self._retention = milliseconds(leases.retention)
        self._conversation = milliseconds(leases.conversation)

    def partition_for(self, principal: str, idempotency_key: str, draw: int) -> int:
        """Choose the partition of a new response: by its idempotency key, else by ``draw``."""
        if idempotency_key:
            return keys.idempotency_partition(principal, idempotency_key, self._partitions)
        return draw % self._partitions

    async def partition_with_room(self, model: str, bound: int, draw: int) -> int | None:
        """Choose by ``draw`` among the partitions where fewer of the model wait than may; None if there is none."""
        if self._partitions == 1:
            return None  # it is the one that has just refused
        waiting = await self._waiting(model)
        open_ones = [partition for partition, count in enumerate(waiting) if count < self._share(bound)]
        return open_ones[draw % len(open_ones)] if open_ones else None

    async def submit(
        self, request: Request, watcher: str | None, bound: int
    ) -> Submitted | Overloaded | Refused:
        """Check the bound, write request and log, enqueue and ring the bell, in one atomic step."""
        try:
            reply = await self._submit(request, watcher, bound)
        except ServerError as error:
            if error.out_of_memory:
                return Refused.STORAGE_FULL
            raise
        head = text_of(reply[0])
        if head == "overloaded":
            return Overloaded(int(reply[1]), _median_seconds(reply[2:]))
        if head == "duplicate":
            return Submitted(text_of(reply[1]), int(reply[2]), duplicate=True, place=int(reply[3]))
        return Submitted(request.response_id, int(reply[1]), duplicate=False, place=int(reply[2]))

    async def _submit(self, request: Request, watcher: str | None, bound: int) -> list[Any]:
        names = keys.of_response(request.response_id)
        partition = partition_of(request.response_id)
        with_key = (
            (keys.idempotency(partition, request.principal, request.idempotency_key),)
            if request.idempotency_key
            else ()
        )
        reply: list[Any] = await self._link.script(
            self._scripts["submit"],
            (
                *names.all,
                *keys.of_model(partition, request.model),
                keys.bell(partition, request.model),
                *with_key,
            ),
            request.response_id,
            encode(request),
            request.principal,
            self._share(bound),
            watcher or "",
            self._attachment,
            milliseconds(request.keep) if request.keep >= 0 else -1,
            milliseconds(request.queue_seconds),
            milliseconds(request.run_seconds),
            self._retention,
            request.model,
            self._conversation if request.stored else 0,
        )
        return reply

    async def cancel(self, response_id: str, principal: str) -> Cancelled | Refused:
        """End the response at once, whatever its state."""
        names = keys.of_response(response_id)
        reply = await self._link.script(
            self._scripts["cancel"], names.all, response_id, principal, self._retention
        )
        head = text_of(reply[0])
        if head == "unknown":
            return Refused.UNKNOWN
        try:
            return Cancelled(decode_status(reply[1]), already=head == "already")
        except Unreadable:
            return Refused.UNREADABLE

    async def delete(self, response_id: str, principal: str) -> bool:
        """End the response if it runs and remove all of it."""
        reply = await self._link.script(
            self._scripts["delete"],
            keys.of_response(response_id).all,
            response_id,
            principal,
            self._retention,
            milliseconds(DELETED_SECONDS),
        )
        return bool(reply)

    async def recall(self, response_id: str, principal: str) -> Remembered | Refused | None:
        """Return what a stored response has left."""
        owner, body, text = await self._link.command(
            "HMGET", keys.conversation(response_id), "principal", "body", "text"
        )
        if owner is None or text_of(owner) != principal:
            return None
        try:
            return Remembered(decode_request(body), text_of(text))
        except Unreadable:
            return Refused.UNREADABLE

    async def follow(
        self, response_id: str, principal: str, watcher: str | None, after: int, epoch: int | None
    ) -> Followed | Refused:
        """Attach (unless ``watcher`` is None) and return what comes after sequence number ``after``."""
        names = keys.of_response(response_id)
        reply = await self._link.script(
            self._scripts["follow"],
            names.all,
            response_id,
            principal,
            watcher or "",
            self._attachment,
            after + 1,
            "" if epoch is None else epoch,
        )
        head = text_of(reply[0])
        if head != "ok":
            return Refused(head)
        try:
            return _followed(reply, after + 1)
        except Unreadable:
            return Refused.UNREADABLE

    async def attend(self, watches: Sequence[Watch]) -> Sequence[Attended | None]:
        """Refresh attachments and say where each log ends."""
        replies = await all_of([self._attend(watch) for watch in watches])
        return [None if isinstance(reply, StoreUnavailable) else reply for reply in replies]

    async def _attend(self, watch: Watch) -> Attended | None:
        names = keys.of_response(watch.response_id)
        reply = await self._link.script(
            self._scripts["attend"],
            (names.hash, names.log, names.attachments),
            watch.watcher,
            self._attachment,
        )
        try:
            return Attended(decode_status(reply[0]), int(reply[1]), int(reply[2])) if reply else None
        except Unreadable:
            return None  # to read the log will tell why

    async def detach(self, response_id: str, watcher: str) -> None:
        """Say that the watcher has left; `keep` counts from now if it was the last."""
        names = keys.of_response(response_id)
        await self._link.script(
            self._scripts["detach"], names.all, response_id, watcher, self._attachment, self._retention
        )

    async def workers(self) -> Sequence[Announced]:
        """Return all announced workers, also lately dead ones."""
        now, values = await self._announcements(keys.WORKERS)
        return announcements.workers(values, now)

    async def gateways(self) -> Sequence[AnnouncedGateway]:
        """Return all announced gateways, also lately dead ones."""
        now, values = await self._announcements(keys.GATEWAYS)
        return announcements.gateways(values, now)

    async def announce(self, info: GatewayInfo) -> None:
        """Make this gateway known for a lease."""
        raw = msgspec.json.encode(info)
        await self._link.script(
            self._scripts["announce"], (keys.GATEWAYS,), self._name, raw, self._lease, keys.ANNOUNCEMENTS_MS
        )

    async def retire(self) -> None:
        """Take this gateway's announcement back."""
        await self._link.command("HDEL", keys.GATEWAYS, self._name)

    async def _announcements(self, key: str) -> tuple[int, list[bytes]]:
        """Return the server's time in seconds, and all announcements of one kind."""
        seconds, _ = await self._link.command("TIME", key=key)
        raw = await self._link.command("HGETALL", key)
        return int(seconds), list(raw.values() if isinstance(raw, dict) else raw[1::2])

    async def waiting(self, model: str) -> int:
        """Count the accepted requests of the model that no worker has claimed yet."""
        return sum(await self._waiting(model))

    async def _waiting(self, model: str) -> list[int]:  # by partition
        sets = [keys.of_model(partition, model)[1] for partition in range(self._partitions)]
        return [int(each) for each in await asyncio.gather(*(self._link.command("ZCARD", s) for s in sets))]

    def _share(self, bound: int) -> int:
        return max(1, bound // self._partitions)

    async def sweep(self, model: str) -> int:
        """End what passed its deadline or was left; return how many.

        Raises StoreUnavailable after all partitions that can be reached were swept.
        """
        swept = await all_of([self._sweep(partition, model) for partition in range(self._partitions)])
        for each in swept:
            if isinstance(each, StoreUnavailable):
                raise each
        return sum(each for each in swept if isinstance(each, int))

    async def _sweep(self, partition: int, model: str) -> int:
        queue, waiting, _ = keys.of_model(partition, model)
        candidates = await self._link.script(
            self._scripts["sweep"],
            (keys.sweeper(partition, model), keys.deadlines(partition), waiting, queue),
            self._name,
            _SWEEP_TERM_MS,
            _SWEEP_MOST,
            _CONSUMER_FORGOTTEN_MS,
            self._attachment,
        )
        ended = [await self._expire(each) for each in dict.fromkeys(map(text_of, candidates))]
        return sum(map(int, ended))

    async def _expire(self, response_id: str) -> Any:
        return await self._link.script(
            self._scripts["expire"],
            keys.of_response(response_id).all,
            response_id,
            self._attachment,
            self._retention,
        )

    async def ping(self) -> None:
        """Raise StoreUnavailable unless the server answers."""
        await self._link.command("PING")


def _followed(reply: Sequence[Any], before: int) -> Followed:
    """Read what follow.lua replies to a reader that has ``before`` events.  Raises Unreadable."""
    _, status, last, epoch, created, body, place, raw, times = reply
    entries, problem = decode_log(raw, before)
    return Followed(
        request=decode_request(body),
        created_ms=int(created),
        status=decode_status(status),
        last=int(last),
        epoch=int(epoch),
        entries=entries,
        place=int(place) if int(place) >= 0 else None,
        median_run_seconds=_median_seconds(times),
        unreadable=problem,
    )


def _median_seconds(times: Sequence[Any]) -> float | None:
    return statistics.median(int(ms) for ms in times) / 1000 if times else None
