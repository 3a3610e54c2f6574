"""A look over all responses that have not ended, for the person who runs the system; no tier needs it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shared.log import Status, partition_of
from shared.store import keys
from shared.store.codec import text_of
from shared.store.link import Server
from shared.store.spread import all_of

_MOST = 1000


@dataclass(frozen=True, slots=True)
class Unfinished:
    """One response that has not ended."""

    response_id: str
    model: str
    principal: str
    status: Status
    age: float
    """Seconds since it was accepted, by the server's clock."""
    worker: str
    """Who has claimed it, or nothing."""
    events: int
    """Wire events so far."""
    attempts: int
    viewers: int
    """Attachments whose lease stands."""


class Census:
    """Reads what the scripts keep; writes nothing."""

    def __init__(self, link: Server, partitions: int) -> None:
        self._link = link
        self._partitions = partitions

    async def unfinished(self) -> Sequence[Unfinished]:
        """Return up to a thousand per partition, oldest first.  Raises StoreUnavailable."""
        names = [keys.deadlines(partition) for partition in range(self._partitions)]
        ids = await asyncio.gather(*(self._link.command("ZRANGE", name, 0, _MOST - 1) for name in names))
        seconds, microseconds = await self._link.command("TIME", key=names[0])
        now = int(seconds) * 1000 + int(microseconds) // 1000
        looks = await all_of([self._look(text_of(each), now) for part in ids for each in part])
        found = [each for each in looks if isinstance(each, Unfinished)]
        return sorted(found, key=lambda each: -each.age)

    async def principal_of(self, response_id: str) -> str | None:
        """Return whose response it is, or None if there is none of this id.  Raises StoreUnavailable."""
        name = await self._link.command("HGET", keys.of_response(response_id).hash, "principal")
        return None if name is None else text_of(name)

    async def _look(self, response_id: str, now: int) -> Unfinished | None:
        """Look at one response; None if it ended meanwhile."""
        names = keys.of_response(response_id)
        fields, tail, viewers = await asyncio.gather(
            self._link.command(
                "HMGET", names.hash, "status", "model", "principal", "created", "attempts", "queue_id"
            ),
            self._link.command("XREVRANGE", names.log, "+", "-", "COUNT", 1),
            self._link.command("ZCOUNT", names.attachments, f"({now}", "+inf"),
        )
        if None in fields or not tail:
            return None
        status, model, principal, created, attempts, queue_id = map(text_of, fields)
        if Status(status).terminal:
            return None
        return Unfinished(
            response_id=response_id,
            model=model,
            principal=principal,
            status=Status(status),
            age=(now - int(created)) / 1000,
            worker="" if status == Status.QUEUED else await self._claimant(response_id, model, queue_id),
            events=int(text_of(tail[0][0]).partition("-")[2]),
            attempts=int(attempts),
            viewers=int(viewers),
        )

    async def _claimant(self, response_id: str, model: str, queue_id: str) -> str:
        """Return the worker for which the response's queue entry is pending; nothing once it was released."""
        queue = keys.of_model(partition_of(response_id), model)[0]
        pending: list[Any] = await self._link.command("XPENDING", queue, keys.GROUP, queue_id, queue_id, 1)
        name = text_of(pending[0][1]) if pending else ""
        return "" if name == "-" else name
