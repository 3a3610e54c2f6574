"""Who may come in.

Development mode, the only one yet: no keys.  Any bearer token or none is taken, but a page's Origin must
be on the list or the gateway's own, and a Host that is not loopback is refused: a foreign page whose name
was rebound to 127.0.0.1 would carry its own name in both.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.errors import Code, WireError
from gateway.principal import Credential, Principal
from gateway.settings import is_loopback

DEVELOPER = Principal("dev", Credential.NONE)
"""Whose all responses are in development mode."""


@dataclass(frozen=True, slots=True)
class Knock:
    """What a handshake or a request shows of its sender."""

    origin: str | None
    host: str | None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Knock:
        """Read a header block; both doors' header types find names in any case."""
        return cls(headers.get("Origin"), headers.get("Host"))


@dataclass(frozen=True, slots=True)
class Doorkeeper:
    """Judges who asks at the door."""

    origins: Collection[str]
    dev_open: bool

    async def admit(self, knock: Knock) -> Principal | WireError:
        """Return the principal, or the refusal."""
        if not self.dev_open and not is_loopback(_hostname(knock.host)):
            return WireError(Code.ORIGIN_NOT_ALLOWED, "This server answers to loopback names only.")
        origin = knock.origin
        if origin is None or origin in self.origins or _is_own(origin, knock.host):
            return DEVELOPER
        return WireError(Code.ORIGIN_NOT_ALLOWED)


def _is_own(origin: str, host: str | None) -> bool:
    """Say whether the page came from this very door, be it through a forwarded port."""
    scheme, separator, netloc = origin.partition("://")
    return bool(separator) and scheme in ("http", "https") and netloc == host


def _hostname(host: str | None) -> str:
    try:
        return urlsplit(f"//{host or ''}").hostname or ""
    except ValueError:  # a bracket without its pair
        return ""
