"""How much principals and addresses use just now, over all gateways: sockets, running responses, rates.

All that is counted of one of them lies in one Cluster slot, and everything has an expiry: what a killed gateway
held is free again after a lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from shared.store import keys
from shared.store.codec import text_of
from shared.store.link import Server
from shared.store.scripts import load_scripts


class Who(StrEnum):
    """What is counted for."""

    PRINCIPAL = "u"
    ADDRESS = "a"


@dataclass(frozen=True, slots=True)
class Scope:
    """One principal or one address."""

    who: Who
    name: str


@dataclass(frozen=True, slots=True)
class Place:
    """A place among the running responses."""

    response_id: str
    most: int
    """How many there may be; 0 counts none."""
    longest: float
    """Seconds after which a response has ended for certain."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What is to be taken from a bucket."""

    bucket: str
    limit: int
    """Allowance of a minute."""
    cost: int = 1
    reserved: bool = False
    """It is the most that the place's response may use: what it does not use is given back when it has ended."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How a bucket stands."""

    bucket: str
    limit: int
    left: int
    full_in: float
    """Seconds until nothing of it is taken."""


@dataclass(frozen=True, slots=True)
class Exceeded:
    """Nothing was taken."""

    bucket: str
    """Which was too empty; ``running`` for the running responses."""
    wait: float
    """Seconds after which there is enough; 0 where nobody can say."""
    rates: tuple[Rate, ...] = ()


RUNNING, RESERVED, TOKENS = "running", "reserved", "tokens"
"""The running responses, what they have reserved, and the one bucket of which they reserve."""


class Meters(Protocol):
    """The verbs of those who count.  All raise StoreUnavailable."""

    async def take(
        self, scope: Scope, place: Place | None, charges: Sequence[Charge]
    ) -> tuple[Rate, ...] | Exceeded:
        """Take a place and of each bucket: all of it, or nothing.

        Raises ServerError if the server is out of memory.
        """

    async def settle(self, scope: Scope) -> int:
        """Free the places of responses that have ended, and take of the tokens what they used; return how many."""

    async def give_back(self, scope: Scope, response_id: str) -> None:
        """Give back the place and the reservation of a response that did not come to be."""

    async def tally(self, scope: Scope, gateway: str, count: int, most: int, lease: float) -> bool:
        """Note that a gateway has ``count`` sockets, for ``lease`` seconds; False if all have more than ``most``."""


class RedisMeters:
    """Meters over one link."""

    def __init__(self, link: Server, grace: float = 10.0) -> None:
        """Count a place without a response as taken for ``grace`` seconds: its submit may be on the way."""
        self._link = link
        self._grace = grace
        self._scripts = load_scripts()

    async def take(
        self, scope: Scope, place: Place | None, charges: Sequence[Charge]
    ) -> tuple[Rate, ...] | Exceeded:
        """Take a place and of each bucket: all of it, or nothing."""
        held = place or Place("", 0, 0.0)
        keys_of = (RUNNING, RESERVED, *(charge.bucket for charge in charges))
        reply = await self._link.script(
            self._scripts["meter"],
            tuple(_key(scope, what) for what in keys_of),
            held.response_id,
            held.most,
            round(held.longest * 1000),
            *(number for each in charges for number in (each.limit, each.cost, int(each.reserved))),
        )
        refused, wait, *told = map(int, reply)
        rates = tuple(
            Rate(charge.bucket, charge.limit, left, full / 1000)
            for charge, left, full in zip(charges, told[::2], told[1::2], strict=False)
        )
        if refused == 0:
            return rates
        return Exceeded(RUNNING if refused == 1 else charges[refused - 2].bucket, wait / 1000, rates)

    async def settle(self, scope: Scope) -> int:
        """Free the places of responses that have ended, and take of the tokens what they used; return how many."""
        key = _key(scope, RUNNING)
        (seconds, micros), places, reserved = await asyncio.gather(
            self._link.command("TIME", key=key),
            self._link.command("ZRANGE", key, 0, -1, "WITHSCORES"),
            self._link.command("HGETALL", _key(scope, RESERVED)),
        )
        taken = _scores(places) | _reserved_at(reserved)
        states = await asyncio.gather(
            *(self._link.command("HMGET", keys.of_response(each).hash, "status", "used") for each in taken)
        )
        fresh = int(seconds) * 1000 + int(micros) / 1000 - self._grace * 1000
        over = {
            each: used
            for (each, since), (status, used) in zip(taken.items(), states, strict=True)
            if (status is None and since < fresh) or (status is not None and _ended(status))
        }
        return await self._settled(scope, over)

    async def give_back(self, scope: Scope, response_id: str) -> None:
        """Give back the place and the reservation of a response that did not come to be."""
        await self._settled(scope, {response_id: 0})

    async def _settled(self, scope: Scope, used: Mapping[str, Any]) -> int:
        """Settle what responses took, by the tokens that they used; None where nobody knows."""
        if not used:
            return 0
        told = (value for each, tokens in used.items() for value in (each, "" if tokens is None else tokens))
        names = tuple(_key(scope, what) for what in (RUNNING, RESERVED, TOKENS))
        return int(await self._link.script(self._scripts["settle"], names, *told))

    async def tally(self, scope: Scope, gateway: str, count: int, most: int, lease: float) -> bool:
        """Note that a gateway has ``count`` sockets, for ``lease`` seconds; False if all have more than ``most``."""
        reply = await self._link.script(
            self._scripts["tally"], (_key(scope, "sockets"),), gateway, count, most, round(lease * 1000)
        )
        return bool(reply)


def _key(scope: Scope, what: str) -> str:
    return keys.meter(scope.who.value, scope.name, what)


def _ended(status: object) -> bool:
    return text_of(status) not in ("queued", "running")


def _scores(raw: Sequence[Any]) -> dict[str, float]:
    """Read members with scores: pairs from a server that speaks RESP3, else one flat list."""
    pairs = raw if raw and isinstance(raw[0], list | tuple) else zip(raw[::2], raw[1::2], strict=True)
    return {text_of(member): float(score) for member, score in pairs}


def _reserved_at(raw: Any) -> dict[str, float]:
    """Read when each reservation was made: a map from a server that speaks RESP3, else one flat list."""
    pairs = raw.items() if isinstance(raw, dict) else zip(raw[::2], raw[1::2], strict=True)
    return {text_of(each): float(text_of(told).partition(" ")[0]) for each, told in pairs}
