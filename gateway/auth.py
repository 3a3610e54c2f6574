"""Who may come in; pure.

Development mode, the only one yet: no keys.  Any bearer token or none is taken, but a page's Origin must
be on the list or the gateway's own, and a Host that is not loopback is refused: a foreign page whose name
was rebound to 127.0.0.1 would carry its own name in both.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.errors import Code, WireError
from gateway.settings import is_loopback

PRINCIPAL = "dev"
"""Whose all responses are in development mode."""


@dataclass(frozen=True, slots=True)
class Doorkeeper:
    """Judges the headers of a handshake or request."""

    origins: Collection[str]
    dev_open: bool

    def admit(self, origin: str | None, host: str | None) -> str | WireError:
        """Return the principal, or the refusal."""
        if not self.dev_open and not is_loopback(_hostname(host)):
            return WireError(Code.ORIGIN_NOT_ALLOWED, "This server answers to loopback names only.")
        if origin is None or origin in self.origins or self._is_own(origin, host):
            return PRINCIPAL
        return WireError(Code.ORIGIN_NOT_ALLOWED)

    def _is_own(self, origin: str, host: str | None) -> bool:
        """Say whether the page came from this very door, be it through a forwarded port."""
        scheme, separator, netloc = origin.partition("://")
        return bool(separator) and scheme in ("http", "https") and netloc == host


def _hostname(host: str | None) -> str:
    try:
        return urlsplit(f"//{host or ''}").hostname or ""
    except ValueError:  # a bracket without its pair
        return ""
