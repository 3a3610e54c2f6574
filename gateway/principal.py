"""Who is asking, as every door hands it on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from shared.quota import UNBOUNDED, Quota


class Credential(StrEnum):
    """What a principal was known by."""

    NONE = "none"  # development mode
    KEY = "key"
    JWT = "jwt"


@dataclass(frozen=True, slots=True)
class Principal:
    """One user of the API: whose responses are whose, and how much may be used."""

    name: str
    """Owns responses; the same for all credentials of one user."""
    credential: Credential
    credential_id: str = ""
    """Names the credential for revocation and logs; tells nothing that would let anybody in."""
    expires: float | None = None
    """Unix seconds at which the credential ends, and its sockets and streams with it."""
    quota: Quota = UNBOUNDED
    address: str = ""
    """Where the client is, as far as the proxies in front may be trusted."""
