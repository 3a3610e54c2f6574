"""Who may come in.

Two doorkeepers, one for each kind of gateway.  :class:`OpenDoor` is development mode: any credential or none
is taken, but a page's Origin must be on the list or the gateway's own, and a Host that is not loopback is
refused, for a foreign page whose name was rebound to 127.0.0.1 would carry its own name in both.
:class:`LockedDoor` asks for a key, a token or a ticket.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Protocol
from urllib.parse import urlsplit

from gateway.errors import Code, WireError
from gateway.jwks import JwksUnavailable
from gateway.key_ring import KeyRing
from gateway.knock import Knock
from gateway.principal import Credential, Principal
from gateway.settings import is_loopback
from gateway.throttle import Throttle
from gateway.tokens import Tokens, looks_like_token
from shared.api_key import digest_of
from shared.observe import Log
from shared.quota import UNBOUNDED
from shared.store.access import Access, Ticket
from shared.store.contract import StoreUnavailable

DEVELOPER = Principal("dev", Credential.NONE)
"""Whose all responses are in development mode."""

TICKET_SECONDS = 30.0
"""How long a ticket may be used."""


class Doorkeeper(Protocol):
    """Judges who asks at the door."""

    async def admit(self, knock: Knock) -> Principal | WireError:
        """Return the principal, or the refusal."""

    async def still(self, principal: Principal) -> bool:
        """Say whether a credential is still good.  Raises StoreUnavailable if nobody can say."""

    async def issue(self, principal: Principal, ticket: str, origin: str | None) -> None:
        """Let ``ticket`` in once, as this principal.  Raises StoreUnavailable."""

    def forget(self, kind: str, which: str) -> None:
        """Look a revoked credential up again the next time."""

    async def refresh(self) -> None:
        """Read again what credentials are checked with, where it is time.  Raises SettingsError."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What every doorkeeper checks first: where the sender's page is from, and how it came."""

    origins: Collection[str] = ()
    https_only: bool = False

    def refusal(self, knock: Knock) -> WireError | None:
        """Return the refusal, if it is one already."""
        if knock.doubled is not None:
            sentence = f"The header {knock.doubled} stands there twice."
            return WireError(Code.INVALID_REQUEST, sentence, knock.doubled)
        if self.https_only and not knock.secure:
            return WireError(Code.HTTPS_REQUIRED)
        origin = knock.origin
        if origin is None or origin in self.origins or _is_own(origin, knock.host):
            return None
        return WireError(Code.ORIGIN_NOT_ALLOWED)


@dataclass(frozen=True, slots=True)
class OpenDoor:
    """Lets everybody in who reaches it: development mode."""

    gate: Gate
    dev_open: bool = False

    async def admit(self, knock: Knock) -> Principal | WireError:
        """Return the developer, or the refusal."""
        if not self.dev_open and not is_loopback(_hostname(knock.host)):
            return WireError(Code.ORIGIN_NOT_ALLOWED, "This server answers to loopback names only.")
        return self.gate.refusal(knock) or replace(DEVELOPER, address=knock.address)

    async def still(self, principal: Principal) -> bool:
        """Say that it is: there is none."""
        return principal.credential is Credential.NONE

    async def issue(self, principal: Principal, ticket: str, origin: str | None) -> None:
        """Do nothing: any ticket is taken."""

    def forget(self, kind: str, which: str) -> None:
        """Do nothing: no credential is remembered."""

    async def refresh(self) -> None:
        """Do nothing: there is nothing to check with."""


class LockedDoor:
    """Lets in who shows an API key, a token or a ticket.  ``clock`` tells monotonic seconds."""

    def __init__(  # noqa: PLR0913 - collaborators, passed down by app.py
        self,
        gate: Gate,
        access: Access,
        throttle: Throttle,
        *,
        keys: KeyRing | None,
        tokens: Tokens | None,
        clock: Callable[[], float],
        log: Log,
    ) -> None:
        self._gate = gate
        self._access = access
        self._throttle = throttle
        self._keys = keys
        self._tokens = tokens
        self._clock = clock
        self._log = log

    async def admit(self, knock: Knock) -> Principal | WireError:
        """Return the principal, or the refusal."""
        refusal = self._gate.refusal(knock)
        if refusal is not None:
            return refusal
        if knock.origin is None and knock.bearer is None and knock.ticket is not None:
            return WireError(Code.ORIGIN_NOT_ALLOWED, "A ticket is for pages, which send an Origin.")
        if knock.bearer is None and knock.ticket is None:
            return WireError(Code.INVALID_API_KEY, "Send a key as 'Authorization: Bearer KEY'.")
        wait = self._throttle.wait(knock.address, self._clock())
        if wait > 0:
            sentence = "Too many wrong credentials came from this address."
            return WireError(Code.RATE_LIMIT_EXCEEDED, sentence, retry_after=math.ceil(wait))
        try:
            principal = await self._known(knock)
        except (StoreUnavailable, JwksUnavailable):
            return WireError(Code.BACKEND_UNAVAILABLE, retry_after=2)
        return self._failed(knock) if principal is None else replace(principal, address=knock.address)

    async def still(self, principal: Principal) -> bool:
        """Say whether a credential is still good.  Raises StoreUnavailable if nobody can say."""
        if principal.credential is Credential.KEY:
            return self._keys is not None and await self._keys.still(principal.credential_id)
        if principal.credential is Credential.JWT:
            return self._tokens is not None and await self._tokens.still(
                principal.name, principal.credential_id
            )
        return False

    async def issue(self, principal: Principal, ticket: str, origin: str | None) -> None:
        """Let ``ticket`` in once, as this principal.  Raises StoreUnavailable."""
        stands_for = Ticket(
            principal.name,
            principal.credential.value,
            principal.credential_id,
            origin,
            principal.expires,
            None if principal.quota == UNBOUNDED else principal.quota,
        )
        await self._access.put_ticket(digest_of(ticket), stands_for, TICKET_SECONDS)

    def forget(self, kind: str, which: str) -> None:
        """Look a revoked credential up again the next time."""
        if kind == "key" and self._keys is not None:
            self._keys.forget(which)

    async def refresh(self) -> None:
        """Read again what credentials are checked with, where it is time.  Raises SettingsError."""
        if self._tokens is not None:
            await self._tokens.refresh()
        if self._keys is not None:
            self._keys.refresh()

    async def _known(self, knock: Knock) -> Principal | None:
        if knock.bearer is None:
            return await self._ticket_holder(knock)
        if self._tokens is not None and looks_like_token(knock.bearer):
            return await self._tokens.find(knock.bearer)
        return await self._keys.find(knock.bearer) if self._keys is not None and knock.bearer else None

    async def _ticket_holder(self, knock: Knock) -> Principal | None:
        ticket = await self._access.take_ticket(digest_of(knock.ticket or ""))
        if ticket is None or ticket.origin not in (None, knock.origin):
            return None
        principal = Principal(
            ticket.name,
            Credential(ticket.credential),
            ticket.credential_id,
            ticket.expires,
            ticket.quota or UNBOUNDED,
        )
        return principal if await self.still(principal) else None

    def _failed(self, knock: Knock) -> WireError:
        self._throttle.failed(knock.address, self._clock())
        kind = "ticket" if knock.bearer is None else "token" if looks_like_token(knock.bearer) else "key"
        self._log.warning("credential_refused", kind=kind, address=knock.address, origin=knock.origin)
        if kind == "ticket":
            return WireError(Code.INVALID_API_KEY, "The ticket is unknown, used, or over.")
        return WireError(Code.INVALID_API_KEY)


def _is_own(origin: str, host: str | None) -> bool:
    """Say whether the page came from this very door, be it through a forwarded port."""
    scheme, separator, netloc = origin.partition("://")
    return bool(separator) and scheme in ("http", "https") and netloc == host


def _hostname(host: str | None) -> str:
    try:
        return urlsplit(f"//{host or ''}").hostname or ""
    except ValueError:  # a bracket without its pair
        return ""
