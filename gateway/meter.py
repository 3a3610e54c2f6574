"""How much: asks the store whether a principal or an address may have one more of something.

Without the store nobody can say.  A new response then is refused, as it could not be stored either.  A socket or a
message is let through: readers must come back to their answers as soon as the store does, and each socket has
bounds of its own.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gateway.errors import Code, WireError
from gateway.principal import Credential, Principal
from gateway.retry import repeated
from shared.quota import Quota
from shared.request import Request
from shared.store.call import ServerError
from shared.store.contract import StoreUnavailable
from shared.store.meters import RUNNING, TOKENS, Charge, Exceeded, Meters, Place, Rate, Scope, Who

LEASE_SECONDS = 30.0
"""How long a gateway's count of sockets stands; so long a killed one's count too."""
REFRESH_SECONDS = 10.0
_MESSAGE_SECONDS = 0.25
"""How long a message waits to be counted; a Stop must not wait for a store that hangs."""
_CHARACTERS_PER_TOKEN = 4
"""A guess: the gateway has no tokenizer."""
_SLACK_SECONDS = 60.0
_FULL_SECONDS = 0.5
"""How long it is taken as read that a principal has no place left, so that hammering costs nothing."""


@dataclass(slots=True)
class Meter:
    """What one gateway asks and remembers.  ``clock`` tells monotonic seconds."""

    meters: Meters | None
    """None counts nothing: development mode."""
    gateway: str
    address_quota: Quota
    clock: Callable[[], float]
    _sockets: Counter[Scope]
    _full_until: dict[str, float]

    @classmethod
    def of(
        cls, meters: Meters | None, gateway: str, address_quota: Quota, clock: Callable[[], float]
    ) -> Meter:
        """Make one that has counted nothing yet."""
        return cls(meters, gateway, address_quota, clock, Counter(), {})

    # ---- sockets ----

    async def enter(self, principal: Principal) -> WireError | None:
        """Count a new socket, or refuse it."""
        held: list[Scope] = []
        for scope, quota in self._scopes(principal):
            self._sockets[scope] += 1
            held.append(scope)
            try:
                fits = await self._tally(scope, quota.sockets)
            except BaseException:  # the handshake was given up meanwhile: nobody will say that it left
                self._release(held)
                raise
            if not fits:
                self._release(held)
                whose = "of this principal" if scope.who is Who.PRINCIPAL else "from this address"
                sentence = f"{quota.sockets} sockets {whose} are open."
                return WireError(Code.RATE_LIMIT_EXCEEDED, sentence, retry_after=10)
        return None

    async def leave(self, principal: Principal) -> None:
        """Count a socket that is gone."""
        scopes = [scope for scope, _ in self._scopes(principal)]
        self._release(scopes)
        for scope in scopes:
            await self._tally(scope, 0)

    async def refresh(self) -> None:
        """Say again what is open, before the lease of what was said runs out."""
        await asyncio.gather(*(self._tally(scope, 0) for scope in list(self._sockets)))
        self._full_until.clear()

    async def message(self, principal: Principal) -> WireError | None:
        """Count a message on a socket, or refuse it."""
        limit = principal.quota.messages_per_minute
        if self.meters is None or not limit:
            return None
        try:
            async with asyncio.timeout(_MESSAGE_SECONDS):
                reply = await self.meters.take(_owner(principal), None, [Charge("messages", limit)])
        except (StoreUnavailable, ServerError, TimeoutError):
            return None
        if not isinstance(reply, Exceeded):
            return None
        return _too_fast("messages", limit, reply.wait)

    # ---- responses ----

    async def ask(self, principal: Principal, request: Request) -> tuple[Rate, ...] | WireError:
        """Take what a request needs; return how the rates stand, or the refusal."""
        meters = self.meters
        if meters is None or principal.credential is Credential.NONE:
            return ()
        if self.address_quota.requests_per_minute and principal.address:
            charge = Charge("requests", self.address_quota.requests_per_minute)
            reply = await self._take(Scope(Who.ADDRESS, principal.address), None, [charge])
            if isinstance(reply, WireError):
                return reply
        if principal.quota.tokens_per_minute:
            settled = await repeated(lambda: meters.settle(_owner(principal)))
            if isinstance(settled, WireError):
                return settled
        return await self._take(_owner(principal), _place(principal, request), _charges(principal, request))

    async def again(self, principal: Principal, request: Request) -> WireError | None:
        """Take what was given back, under another id: all but the request itself, which counts once."""
        if self.meters is None or principal.credential is Credential.NONE:
            return None
        charges = [charge for charge in _charges(principal, request) if charge.reserved]
        taken = await self._take(_owner(principal), _place(principal, request), charges)
        return taken if isinstance(taken, WireError) else None

    async def give_back(self, principal: Principal, response_id: str) -> None:
        """Give back what a request took that came to nothing; if that fails it comes back with time."""
        quota = principal.quota
        if self.meters is not None and (quota.responses or quota.tokens_per_minute):
            try:
                await self.meters.give_back(_owner(principal), response_id)
            except StoreUnavailable:
                return

    async def _take(
        self, scope: Scope, place: Place | None, charges: Sequence[Charge]
    ) -> tuple[Rate, ...] | WireError:
        meters = self.meters
        if meters is None or (place is None and not charges):
            return ()
        if place is not None and self.clock() < self._full_until.get(scope.name, 0.0):
            return _too_many(place)
        try:
            reply = await repeated(lambda: meters.take(scope, place, charges))
            if _is_full(reply):
                # Whoever settles at the same moment may have freed what we then do not: only a second look tells.
                await repeated(lambda: meters.settle(scope))
                reply = await repeated(lambda: meters.take(scope, place, charges))
            if _is_full(reply):
                self._full_until[scope.name] = self.clock() + _FULL_SECONDS
        except ServerError as error:
            if error.out_of_memory:
                return WireError(Code.STORAGE_FULL)
            raise
        return _refusal(reply, place, charges) if isinstance(reply, Exceeded) else reply

    # ---- what they share ----

    def _scopes(self, principal: Principal) -> Iterable[tuple[Scope, Quota]]:
        if self.meters is None or principal.credential is Credential.NONE:
            return
        if principal.quota.sockets:
            yield _owner(principal), principal.quota
        if self.address_quota.sockets and principal.address:
            yield Scope(Who.ADDRESS, principal.address), self.address_quota

    def _release(self, scopes: Iterable[Scope]) -> None:
        for scope in scopes:
            self._sockets[scope] -= 1

    async def _tally(self, scope: Scope, most: int) -> bool:
        """Say how many sockets are open; what has none any more is forgotten when that was said."""
        if self.meters is None:
            return True
        count = self._sockets[scope]
        try:
            fits = await self.meters.tally(scope, self.gateway, count, most, LEASE_SECONDS)
        except StoreUnavailable:
            return True
        if count == 0 and self._sockets[scope] == 0:
            del self._sockets[scope]
        return fits


def headers_of(rates: Iterable[Rate]) -> dict[str, str]:
    """Return the headers by which clients of the OpenAI API know how much is left."""
    return {
        f"x-ratelimit-{what}-{rate.bucket}": value
        for rate in rates
        for what, value in (
            ("limit", str(rate.limit)),
            ("remaining", str(rate.left)),
            ("reset", _duration(rate.full_in)),
        )
    }


def _duration(seconds: float) -> str:
    """Spell a time as these headers do: ``120ms``, ``1.5s``, ``1m0s``."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    spelled = f"{rest:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{minutes:.0f}m{spelled}" if minutes else spelled


def _is_full(reply: object) -> bool:
    return isinstance(reply, Exceeded) and reply.bucket == RUNNING


def _owner(principal: Principal) -> Scope:
    return Scope(Who.PRINCIPAL, principal.name)


def _place(principal: Principal, request: Request) -> Place | None:
    longest = request.queue_seconds + request.run_seconds + _SLACK_SECONDS
    quota = principal.quota
    counted = quota.responses or quota.tokens_per_minute
    return Place(request.response_id, quota.responses, longest) if counted else None


def _charges(principal: Principal, request: Request) -> list[Charge]:
    quota = principal.quota
    charges = []
    if quota.requests_per_minute:
        charges.append(Charge("requests", quota.requests_per_minute))
    if quota.tokens_per_minute:
        characters = sum(len(message.text) for message in request.messages)
        cost = math.ceil(characters / _CHARACTERS_PER_TOKEN) + request.sampling.max_tokens
        charges.append(Charge(TOKENS, quota.tokens_per_minute, cost, reserved=True))
    return charges


def _refusal(exceeded: Exceeded, place: Place | None, charges: Iterable[Charge]) -> WireError:
    limits = {charge.bucket: charge.limit for charge in charges}
    if exceeded.bucket == RUNNING and place is not None:
        return _too_many(place)
    error = _too_fast(exceeded.bucket, limits[exceeded.bucket], exceeded.wait)
    return error.with_headers(headers_of(exceeded.rates))


def _too_many(place: Place) -> WireError:
    sentence = f"{place.most} responses of this principal are running or waiting."
    return WireError(Code.TOO_MANY_ACTIVE, sentence, retry_after=2)


def _too_fast(bucket: str, limit: int, wait: float) -> WireError:
    sentence = f"More than {limit} {bucket} in a minute."
    return WireError(Code.RATE_LIMIT_EXCEEDED, sentence, retry_after=max(1, math.ceil(wait)))
