"""JSON Web Tokens (RFC 7519) at the door: a token of the issuer makes its subject the principal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import jwt
import msgspec
from msgspec import Meta

from gateway.jwks import Jwks
from gateway.principal import Credential, Principal
from shared.quota import Quota
from shared.store.access import LONGEST_SECONDS, Access

PREFIX = "jwt:"
"""Stands before a subject in the principal's name, so that no token can name an API key's principal."""


class _Claims(msgspec.Struct, frozen=True):
    sub: Annotated[str, Meta(min_length=1, max_length=255)]
    exp: float
    iat: float = 0.0
    """Without it a token counts as older than any revocation."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a token must be."""

    issuer: str
    audience: str
    algorithms: Sequence[str]
    leeway: float


class Tokens:
    """Finds the principal of a token.  ``wall`` tells unix seconds."""

    def __init__(
        self, rules: Rules, jwks: Jwks, access: Access, quota: Quota, *, wall: Callable[[], float]
    ) -> None:
        self._rules = rules
        self._jwks = jwks
        self._access = access
        self._quota = quota
        self._wall = wall

    async def find(self, text: str) -> Principal | None:
        """Return whose token this is.  Raises StoreUnavailable or JwksUnavailable if nobody can say."""
        claims = await self._claims(text)
        if claims is None:
            return None
        if claims.exp > self._wall() + LONGEST_SECONDS:
            return None  # a revocation is not remembered for longer
        principal = Principal(
            f"{PREFIX}{claims.sub}",
            Credential.JWT,
            f"{claims.iat:.0f}",
            claims.exp + self._rules.leeway,
            self._quota,
        )
        return principal if await self.still(principal.name, principal.credential_id) else None

    async def still(self, name: str, issued: str) -> bool:
        """Say whether no revocation has come since a principal's token was issued."""
        revoked_at = await self._access.revoked_at(name)
        return revoked_at is None or float(issued) > revoked_at

    async def refresh(self) -> None:
        """Look for the issuer's keys again if it is time."""
        await self._jwks.refresh()

    async def _claims(self, text: str) -> _Claims | None:
        try:
            header = jwt.get_unverified_header(text)
            if header.get("alg") not in self._rules.algorithms:
                return None
            key = await self._jwks.key(header.get("kid"))
            if key is None:
                return None
            claims = jwt.decode(
                text,
                key,
                algorithms=list(self._rules.algorithms),
                audience=self._rules.audience,
                issuer=self._rules.issuer,
                leeway=self._rules.leeway,
                options={"require": ["exp", "sub"]},
            )
            return msgspec.convert(claims, _Claims)
        except (jwt.PyJWTError, msgspec.ValidationError):
            return None


def looks_like_token(text: str) -> bool:
    """Say whether a credential has the form of a signed token."""
    return text.startswith("eyJ") and text.count(".") == 2
