"""The worker's verbs on a Redis or Valkey server."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from shared.log import STATUS_OF, Entry, Kind, Reason, partition_of
from shared.request import decode
from shared.store import keys
from shared.store.codec import append_arguments, decode_entry, encode_ids, encode_usage, text_of
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
from shared.store.link import Server, ServerError
from shared.store.scripts import load_scripts
from shared.store.spread import all_of, spread

MOST_ATTEMPTS = 3
"""Deaths in a row, without progress, after which a response is not tried again."""
MOST_DEATHS = 8
"""Deaths in all."""
_DAY_MS = 86_400_000
_STANDINGS = {
    1: Standing.OURS,
    0: Standing.LEFT,
    -1: Standing.GONE,
    -2: Standing.ENDED,
    -3: Standing.FENCED,
}


@dataclass(frozen=True, slots=True)
class _Taking:
    """What to take from a queue, as take.lua has it, and the link on which alone that may be done."""

    mode: str
    link: int | None = None


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
    ) -> None:
        self._link = link
        self._rung = asyncio.Event()
        self._bell_reader = listen(url, lambda _channel, _message: self._rung.set(), self._rung.set)
        self._bell_reader.start()
        self._worker = worker
        self._model = model
        self._build = build
        self._partitions = partitions
        self._scripts = load_scripts()
        self._leases = leases or Leases()
        self._lease = _ms(self._leases.lease)
        self._trusted_link = (-1, 0.0)
        self._first = 0

    @property
    def link(self) -> int:
        """Number of the connection to the server."""
        return self._link.number

    # ---- taking ----

    async def claim(self, room: int, solo: Callable[[], bool], fresh: int | None = None) -> Sequence[Claim]:
        """Take up to ``room`` responses: handed-over ones before waiting ones, these while below ``fresh``.

        What was claimed before a server was lost is returned, not forgotten.
        """
        claims: list[Claim] = []
        handed, waiting, problem = await self._look()
        trusted = self._trusted()
        again = _Taking("handed") if trusted is None else _Taking("all", trusted)
        new, most_with_new = _Taking("new"), room if fresh is None else min(room, fresh)
        plan = [(p, again, room) for p in handed] + [(p, new, most_with_new) for p in waiting]
        for partition, taking, most in plan:
            if len(claims) >= most or any(claim.attempts > 1 for claim in claims):
                break
            try:
                await self._claim_from(partition, taking, most, solo, claims)
            except StoreUnavailable as error:
                problem = error
        if problem is not None and not claims:
            raise problem
        return claims

    async def _look(self) -> tuple[list[int], list[int], StoreUnavailable | None]:
        """Return the partitions to take handed-over and lapsed entries from, and those to take new ones from.

        One partition needs no look; many are looked at in one round trip, since most have nothing.
        """
        partitions = self._rotated()
        if len(partitions) == 1:
            return partitions, partitions, None
        looks = await all_of(
            [
                self._link.script(
                    self._scripts["look"], (keys.of_model(partition, self._model)[0],), self._lease
                )
                for partition in partitions
            ]
        )
        handed, waiting, problem = [], [], None
        for partition, look in zip(partitions, looks, strict=True):
            if isinstance(look, StoreUnavailable):
                problem = look
                continue
            handed += [partition] if look[0] else []
            waiting += [partition] if look[1] else []
        return handed, waiting, problem

    async def _claim_from(
        self, partition: int, taking: _Taking, room: int, solo: Callable[[], bool], claims: list[Claim]
    ) -> None:
        """Claim until something was got or nothing is left: behind what nobody can have, others may wait."""
        passed: list[str] = []
        before = len(claims)
        while len(claims) == before:
            taken = await self._take(partition, taking, room - before, passed)
            if not taken:
                return
            if taking.mode != "new":  # what is new is taken only once
                passed += [queue_id for queue_id, _ in taken]
            await self._claim_all(deque(taken), solo, claims)

    async def _claim_all(
        self, taken: deque[tuple[str, str]], solo: Callable[[], bool], claims: list[Claim]
    ) -> None:
        while taken and not claims:  # only the first may be a suspect
            claim = await self._claim_one(*taken.popleft(), solo())
            claims += [claim] if claim is not None else []
        # The others share round trips: one after the other, whoever takes over a whole worker's load would
        # be busy claiming for longer than a lease's slack.
        rest = await all_of([self._claim_one(*entry, alone=False) for entry in taken])
        claims += [claim for claim in rest if isinstance(claim, Claim)]
        problem = next((answer for answer in rest if isinstance(answer, StoreUnavailable)), None)
        if problem is not None:
            raise problem

    def _rotated(self) -> list[int]:
        """Return all partitions, another one first each time, so that none is always last."""
        self._first = (self._first + 1) % self._partitions
        return [(self._first + n) % self._partitions for n in range(self._partitions)]

    def _trusted(self) -> int | None:
        """Return the link on which idle times may be trusted, if it is an old one.

        They run while the server is down: on a new link all leases look expired until their owners have had
        the time to renew them.  So what is taken by idle time must go out on this very link.
        """
        now = asyncio.get_running_loop().time()
        number, since = self._trusted_link
        if number != self._link.number:
            self._trusted_link = (self._link.number, now)
            return None
        return number if now - since >= self._leases.lease else None

    async def _take(
        self, partition: int, taking: _Taking, count: int, passed: Sequence[str]
    ) -> list[tuple[str, str]]:
        queue = keys.of_model(partition, self._model)[0]
        try:
            reply = await self._link.script(
                self._scripts["take"],
                (queue,),
                self._worker,
                self._lease,
                count,
                taking.mode,
                *passed,
                link=taking.link,
            )
        except ServerError as error:
            if error.out_of_memory:
                return []  # nothing could be appended to it: it waits until there is room or its time is over
            if "NOGROUP" not in str(error):
                raise
            await self._make_group(queue)
            return await self._take(partition, taking, count, passed)
        flat = list(map(text_of, reply))
        return list(zip(flat[::2], flat[1::2], strict=True))

    async def _make_group(self, queue: str) -> None:
        """Make the group at 0: what was accepted before any worker came is not missed."""
        try:
            await self._link.command("XGROUP", "CREATE", queue, keys.GROUP, "0", "MKSTREAM", key=queue)
        except ServerError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def _claim_one(self, queue_id: str, response_id: str, alone: bool) -> Claim | None:
        nonce = secrets.token_hex(8)
        names = keys.of_response(response_id)
        claiming = self._link.script(
            self._scripts["claim"],
            self._keys(response_id),
            response_id,
            self._worker,
            nonce,
            queue_id,
            "1" if alone else "0",
            self._build,
            self._lease,
            _ms(self._leases.attachment),
            _ms(self._leases.retention),
            _ms(self._leases.fit),
            MOST_ATTEMPTS,
            MOST_DEATHS,
        )
        reply = await claiming
        if text_of(reply[0]) != "ok":
            return None
        _, epoch, upto, body, created, attempts, reclaimed = reply
        # Once the claimed entry stands nobody else can write: the log may be read apart.
        log = tuple(map(decode_entry, await self._link.command("XRANGE", names.log, "-", "+")))
        if not log or log[-1].upto != int(upto):
            return None  # the server lost a tail just now: give the claim up, never wait
        return Claim(
            request=decode(body),
            queue_id=queue_id,
            nonce=nonce,
            epoch=int(epoch),
            upto=int(upto),
            created_ms=int(created),
            queued_ms=_started_ms(log) - int(created),
            attempts=int(attempts),
            entries=log,
            reclaimed=bool(int(reclaimed)),
        )

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
            response = keys.of_response(append.response_id)
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
            response = keys.of_response(claim.response_id)
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
            self._keys(claim.response_id),
            self._worker,
            claim.nonce,
            claim.queue_id,
            _ms(self._leases.attachment),
            _ms(self._leases.retention),
        )
        return _STANDINGS[int(reply)]

    async def release(self, claim: Claim) -> None:
        """Hand over: make the response takeable now, without counting an attempt."""
        bell = keys.bell(partition_of(claim.response_id), self._model)
        await self._link.script(
            self._scripts["release"],
            (*self._keys(claim.response_id), bell),
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
            self._keys(claim.response_id),
            claim.response_id,
            claim.nonce,
            upto,
            STATUS_OF[reason],
            reason,
            message,
            _ms(self._leases.retention),
            encode_ids(tail.ids),
            encode_usage(tail.prompt_tokens, tail.cached_tokens),
        )
        return FinishReply(text_of(reply))

    # ---- being known ----

    async def announce(self, info: WorkerInfo) -> None:
        """Make this worker known for a lease."""
        raw = msgspec.json.encode(info)
        await self._link.script(
            self._scripts["announce"], (keys.WORKERS,), info.worker, raw, self._lease, _DAY_MS
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

    def _keys(self, response_id: str) -> tuple[str, ...]:
        partition = partition_of(response_id)
        return (*keys.of_response(response_id).all, *keys.of_model(partition, self._model))


def _partition(claim: Claim) -> int:
    return partition_of(claim.response_id)


def _append_reply(reply: Any) -> AppendReply:
    if reply > 0:
        return AppendReply.OK
    if reply == 0:
        return AppendReply.UNWATCHED
    return AppendReply.GONE if reply == -1 else AppendReply.REFUSED


def _started_ms(log: Sequence[Entry]) -> int:
    """Return the time of the first claim."""
    return next(entry.at for entry in log if entry.kind is Kind.STARTED)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
