"""The way in, for both doors: reads who knocks, asks the doorkeeper, and knows who is inside."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.auth import Doorkeeper, Gate, LockedDoor, OpenDoor
from gateway.errors import WireError
from gateway.jwks import Jwks, check_file
from gateway.key_ring import KeyRing, StaticKeys
from gateway.knock import Network, networks, read_knock
from gateway.principal import Principal
from gateway.roster import Roster
from gateway.settings import GatewaySettings
from gateway.throttle import Throttle
from gateway.tokens import Rules, Tokens
from shared.observe import Log
from shared.store.access import Access


@dataclass(frozen=True, slots=True)
class Entrance:
    """What both doors share of letting somebody in."""

    doorkeeper: Doorkeeper
    roster: Roster
    trusted: Sequence[Network]
    https_only: bool = False

    async def admit(
        self, values: Callable[[str], Sequence[str]], peer: str, query_ticket: str | None = None
    ) -> Principal | WireError:
        """Judge a header block; ``values`` returns all values of a header, ``peer`` is the other end."""
        return await self.doorkeeper.admit(read_knock(values, peer, self.trusted, query_ticket))

    async def revoked(self, kind: str, which: str) -> None:
        """Act on what the control channel says."""
        self.doorkeeper.forget(kind, which)
        await self.roster.revoked(kind, which)


def make_entrance(
    settings: GatewaySettings, access: Access | None, clock: Callable[[], float], log: Log
) -> Entrance:
    """Build the entrance that the settings ask for.  Raises SettingsError if a file of theirs is no good."""
    doorkeeper = _doorkeeper(settings, access, clock, log)
    roster = Roster(doorkeeper.still, time.time, log)
    return Entrance(doorkeeper, roster, networks(settings.trusted_proxies), settings.https_only)


def _doorkeeper(
    settings: GatewaySettings, access: Access | None, clock: Callable[[], float], log: Log
) -> Doorkeeper:
    gate = Gate(settings.origins, settings.https_only)
    if settings.dev:
        return OpenDoor(gate, settings.dev_open)
    if access is None:
        raise TypeError("a gateway that asks for credentials needs a place to look them up")
    keys = tokens = None
    if "keys" in settings.auth:
        static = StaticKeys(settings.api_keys, settings.api_keys_file, settings.quota)
        keys = KeyRing(access, static, settings.quota, clock=clock, wall=time.time)
    if "jwt" in settings.auth:
        check_file(settings.jwt_jwks)
        rules = Rules(
            settings.jwt_issuer,
            settings.jwt_audience,
            settings.jwt_algorithms,
            settings.jwt_leeway_seconds,
        )
        tokens = Tokens(rules, Jwks(settings.jwt_jwks, clock, log), access, settings.quota, wall=time.time)
    throttle = Throttle(settings.failures_per_address)
    return LockedDoor(gate, access, throttle, keys=keys, tokens=tokens, clock=clock, log=log)
