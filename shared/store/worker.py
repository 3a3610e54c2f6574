"""The worker's verbs on a Redis or Valkey server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from shared.log import STATUS_OF, Reason, partition_of
from shared.store import keys
from shared.store.call import ServerError
from shared.store.codec import append_arguments, encode_ids, encode_usage, milliseconds, text_of
from shared.store.connect import listen
from shared.store.contract import (
    Append,
    AppendReply,
    Claim,
    FinishReply,
    Leases,
    Standing,
    StoreUnavailable,
    Tail,
    Why,
    WorkerInfo,
)
from shared.store.link import Server
from shared.store.queues import OnUnreadable, Queues, Taker
from shared.store.scripts import load_scripts
from shared.store.spread import all_of, spread

_MOST_NAMES = 4096
"""Responses whose names are kept: as many as a worker may compute at once."""
_STANDINGS = {
    1: Standing.OURS,
    0: Standing.LEFT,
    -1: Standing.GONE,
    -2: Standing.ENDED,
    -3: Standing.FENCED,
}


class RedisWorkerStore:
    """WorkerStore over one link, for one worker.  See the contract for what each verb promises."""

    def __init__(  # noqa: PLR0913 - what a worker is, said once by app.py
        self,
        link: Server,
        url: str,
        *,
        worker: str,
        model: str,
        build: str,
        partitions: int = 1,
        leases: Leases | None = None,
        on_unreadable: OnUnreadable = lambda _which, _problem: None,
    ) -> None:
        self._link = link
        self._rung = asyncio.Event()
        self._bell_reader = listen(url, lambda _channel, _message: self._rung.set(), self._rung.set)
        self._bell_reader.start()
        self._worker = worker
        self._model = model
        self._partitions = partitions
        self._scripts = load_scripts()
        # Making them anew for each token was a sixth of what logging it costs the worker.
        self._names = lru_cache(_MOST_NAMES)(keys.of_response)
        leases = leases or Leases()
        self._lease = milliseconds(leases.lease)
        self._attachment = milliseconds(leases.attachment)
        self._retention = milliseconds(leases.retention)
        self._queues = Queues(
            link, Taker(worker, model, build, leases, on_unreadable), partitions, self._scripts
        )

    @property
    def link(self) -> int:
        """Number of the connection to the server."""
        return self._link.number

    # ---- taking ----

    async def claim(self, room: int, solo: Callable[[], bool], fresh: int | None = None) -> Sequence[Claim]:
        """Take up to ``room`` responses: handed-over ones before waiting ones, these while below ``fresh``."""
        return await self._queues.claim(room, solo, fresh)

    # ---- writing ----

    async def append(self, batch: Sequence[Append], link: int | None = None) -> Sequence[AppendReply]:
        """Log and publish one step's deltas in one round trip; one reply each, in order."""

        async def append(part: Sequence[Append]) -> Sequence[AppendReply]:
            return await self._append(part, link)

        return await spread(batch, lambda each: partition_of(each.response_id), append, AppendReply.LOST)

    async def _append(self, batch: Sequence[Append], link: int | None) -> Sequence[AppendReply]:
        names: list[str] = []
        arguments: list[str] = []
        for append in batch:
            response = self._names(append.response_id)
            names += [response.log, response.channel]
            arguments += append_arguments(append)
        try:
            replies = await self._link.script(self._scripts["append"], tuple(names), *arguments, link=link)
        except ServerError as error:
            if error.out_of_memory:
                return [AppendReply.STORAGE_FULL] * len(batch)
            raise
        return list(map(_append_reply, replies))

    async def why(self, claims: Sequence[Claim], link: int | None = None) -> Sequence[Why]:
        """Ask how each claim stands."""

        async def why(part: Sequence[Claim]) -> Sequence[Why]:
            return await self._why(part, link)

        return await spread(claims, _partition, why, Why(Standing.UNKNOWN, 0))

    async def _why(self, claims: Sequence[Claim], link: int | None) -> Sequence[Why]:
        names: list[str] = []
        for claim in claims:
            response = self._names(claim.response_id)
            names += [response.hash, response.log]
        replies = await self._link.script(
            self._scripts["why"], tuple(names), *(claim.nonce for claim in claims), link=link
        )
        return [Why(Standing.OURS, int(n)) if int(n) > 0 else Why(_STANDINGS[int(n)], 0) for n in replies]

    async def renew(self, claims: Sequence[Claim]) -> Sequence[Standing]:
        """Extend the leases of the claims that are still ours."""
        replies = await all_of([self._renew(claim) for claim in claims])
        return [Standing.UNKNOWN if isinstance(each, StoreUnavailable) else each for each in replies]

    async def _renew(self, claim: Claim) -> Standing:
        reply = await self._link.script(
            self._scripts["renew"],
            keys.of_claim(claim.response_id, self._model),
            self._worker,
            claim.nonce,
            claim.queue_id,
            self._attachment,
            self._retention,
        )
        return _STANDINGS[int(reply)]

    async def release(self, claim: Claim) -> None:
        """Hand over: make the response takeable now, without counting an attempt."""
        bell = keys.bell(partition_of(claim.response_id), self._model)
        await self._link.script(
            self._scripts["release"],
            (*keys.of_claim(claim.response_id, self._model), bell),
            claim.nonce,
            claim.queue_id,
            self._lease,
        )

    async def finish(
        self, claim: Claim, upto: int, reason: Reason, message: str = "", tail: Tail | None = None
    ) -> FinishReply:
        """Write the ending after event ``upto``, with what had no text to ride with."""
        tail = tail or Tail()
        reply = await self._link.script(
            self._scripts["finish"],
            keys.of_claim(claim.response_id, self._model),
            claim.response_id,
            claim.nonce,
            upto,
            STATUS_OF[reason],
            reason,
            message,
            self._retention,
            encode_ids(tail.ids),
            encode_usage(tail.prompt_tokens, tail.cached_tokens),
        )
        return FinishReply(text_of(reply))

    # ---- being known ----

    async def announce(self, info: WorkerInfo) -> None:
        """Make this worker known for a lease."""
        raw = msgspec.json.encode(info)
        await self._link.script(
            self._scripts["announce"], (keys.WORKERS,), info.worker, raw, self._lease, keys.ANNOUNCEMENTS_MS
        )

    async def retire(self) -> None:
        """Take this worker's announcement back."""
        await self._link.command("HDEL", keys.WORKERS, self._worker)

    async def bell(self, seconds: float) -> None:
        """Sleep until work may have come, at most ``seconds``."""
        self._bell_reader.want(
            keys.bell(partition, self._model).encode() for partition in range(self._partitions)
        )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        self._rung.clear()

    async def close(self) -> None:
        """Stop listening for the bell; the link is its maker's."""
        await self._bell_reader.close()

    async def ping(self) -> None:
        """Raise StoreUnavailable unless the server answers."""
        await self._link.command("PING")


def _partition(claim: Claim) -> int:
    return partition_of(claim.response_id)


def _append_reply(reply: Any) -> AppendReply:
    if reply > 0:
        return AppendReply.OK
    if reply == 0:
        return AppendReply.UNWATCHED
    return AppendReply.GONE if reply == -1 else AppendReply.REFUSED
