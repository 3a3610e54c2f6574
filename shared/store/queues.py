"""The queues of one model, as one worker takes from them."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.log import STATUS_OF, Entry, Kind, Reason, partition_of, unescape
from shared.store import keys
from shared.store.call import ServerError
from shared.store.codec import Unreadable, decode_log, decode_request, milliseconds, text_of
from shared.store.contract import MOST_ATTEMPTS, MOST_DEATHS, Claim, Leases, StoreUnavailable
from shared.store.link import Server
from shared.store.scripts import Script
from shared.store.spread import all_of

OnUnreadable = Callable[[str, str], None]
"""Told of what nobody here can read: the response, or the queue entry if it names none, and what is wrong."""

_UNREADABLE = "This worker cannot read what was stored for this answer. Ask again."


@dataclass(frozen=True, slots=True)
class Taker:
    """Who takes: a worker, what it computes with, and the times by which it and others hold claims."""

    worker: str
    model: str
    build: str
    leases: Leases
    on_unreadable: OnUnreadable


@dataclass(frozen=True, slots=True)
class _Taking:
    """What to take from a queue, as take.lua has it, and the link on which alone that may be done."""

    mode: str
    link: int | None = None


class Queues:
    """The queues of all partitions, and the one worker that takes from them."""

    def __init__(self, link: Server, taker: Taker, partitions: int, scripts: Mapping[str, Script]) -> None:
        self._link = link
        self._taker = taker
        self._partitions = partitions
        self._scripts = scripts
        self._lease = milliseconds(taker.leases.lease)
        self._trusted_link = (-1, 0.0)
        self._first = 0

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
                    self._scripts["look"], (keys.of_model(partition, self._taker.model)[0],), self._lease
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
        return number if now - since >= self._taker.leases.lease else None

    async def _take(
        self, partition: int, taking: _Taking, count: int, passed: Sequence[str]
    ) -> list[tuple[str, str]]:
        queue = keys.of_model(partition, self._taker.model)[0]
        try:
            reply = await self._link.script(
                self._scripts["take"],
                (queue,),
                self._taker.worker,
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
        return await self._named(partition, list(zip(map(text_of, reply[::2]), reply[1::2], strict=True)))

    async def _named(self, partition: int, taken: Sequence[tuple[str, object]]) -> list[tuple[str, str]]:
        """Return the entries that name a response of the partition; any other is put aside for good."""
        named = []
        for queue_id, raw in taken:
            try:
                response_id = text_of(raw)
                ours = partition_of(response_id) == partition
            except ValueError:  # bad UTF-8 is one, too
                ours = False
            if ours:
                named.append((queue_id, response_id))
            else:
                await self._put_aside(keys.of_model(partition, self._taker.model)[0], queue_id)
        return named

    async def _put_aside(self, queue: str, queue_id: str) -> None:
        await self._link.command("XACK", queue, keys.GROUP, queue_id)
        await self._link.command("XDEL", queue, queue_id)
        self._taker.on_unreadable(queue_id, "the queue entry names no response of its partition")

    async def _make_group(self, queue: str) -> None:
        """Make the group at 0: what was accepted before any worker came is not missed."""
        try:
            await self._link.command("XGROUP", "CREATE", queue, keys.GROUP, "0", "MKSTREAM", key=queue)
        except ServerError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def _claim_one(self, queue_id: str, response_id: str, alone: bool) -> Claim | None:
        nonce = secrets.token_hex(8)
        reply = await self._link.script(
            self._scripts["claim"],
            keys.of_claim(response_id, self._taker.model),
            response_id,
            self._taker.worker,
            nonce,
            queue_id,
            "1" if alone else "0",
            self._taker.build,
            self._lease,
            milliseconds(self._taker.leases.attachment),
            milliseconds(self._taker.leases.retention),
            milliseconds(self._taker.leases.fit),
            MOST_ATTEMPTS,
            MOST_DEATHS,
        )
        if text_of(reply[0]) != "ok":
            return None
        try:
            return await self._read_claim(queue_id, response_id, nonce, reply)
        except Unreadable as problem:
            await self._fail(response_id, nonce, int(reply[2]))
            self._taker.on_unreadable(response_id, str(problem))
            return None

    async def _fail(self, response_id: str, nonce: str, upto: int) -> None:
        """End a response that was claimed and cannot be read: openly, and so that no other worker meets it."""
        await self._link.script(
            self._scripts["finish"],
            keys.of_claim(response_id, self._taker.model),
            response_id,
            nonce,
            upto,
            STATUS_OF[Reason.ERROR],
            Reason.ERROR,
            _UNREADABLE,
            milliseconds(self._taker.leases.retention),
            "",
            "",
        )

    async def _read_claim(
        self, queue_id: str, response_id: str, nonce: str, reply: Sequence[Any]
    ) -> Claim | None:
        """Read what claim.lua replied, and the log.  Raises Unreadable."""
        _, epoch, upto, body, created, attempts, reclaimed = reply
        # Once the claimed entry stands nobody else can write: the log may be read apart.
        entries = await self._link.command("XRANGE", keys.of_response(response_id).log, "-", "+")
        log = _read_log(entries)
        if not log or log[-1].upto != int(upto):
            return None  # the server lost a tail just now: give the claim up, never wait
        return Claim(
            request=decode_request(body),
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


def _read_log(raw: Sequence[Sequence[object]]) -> tuple[Entry, ...]:
    """Read a log that is to be continued.  Raises Unreadable."""
    log, problem = decode_log(raw, 0)
    if problem:
        raise Unreadable(problem)
    try:
        unescape("".join(entry.text for entry in log))
    except ValueError as error:
        raise Unreadable("the text is not escaped as JSON is") from error
    return log


def _started_ms(log: Sequence[Entry]) -> int:
    """Return the time of the first claim."""
    return next(entry.at for entry in log if entry.kind is Kind.STARTED)
