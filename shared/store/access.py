"""Who may come in, as all gateways know it: API keys, revocations and tickets.

A revocation is told on a channel, so that every gateway acts at once; since a message may be lost, gateways
look again now and then as well.  Times compared with stored ones are the server's alone, but for ``expires``
and ``iat`` of credentials, which are wall-clock times by nature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from shared.api_key import KeyRecord
from shared.quota import Quota
from shared.store import keys
from shared.store.codec import text_of
from shared.store.connect import listen
from shared.store.link import Server
from shared.store.scripts import load_scripts

LONGEST_SECONDS = 30 * 86_400
"""How long a revoked principal is remembered; so no token may be valid for longer."""


class Ticket(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a ticket stands for: the principal that asked for it, and the page that may use it."""

    name: str
    credential: str
    credential_id: str
    origin: str | None = None
    """None lets any allowed page use it."""
    expires: float | None = None
    """Unix seconds at which the credential ends that the ticket was asked with."""
    quota: Quota | None = None


class Access(Protocol):
    """The verbs of those who let in, and of the command that makes keys.

    All raise StoreUnavailable if the server could not be asked.
    """

    async def add_key(self, record: KeyRecord) -> None:
        """Make a key known to all gateways."""

    async def key(self, key_id: str) -> KeyRecord | None:
        """Look a key up."""

    async def all_keys(self) -> Sequence[KeyRecord]:
        """Return all keys, also those that have expired."""

    async def revoke_key(self, key_id: str) -> bool:
        """Forget a key and tell all gateways; False if there was none."""

    async def revoke_principal(self, name: str) -> None:
        """Let no token of this principal in that was issued up to now, and tell all gateways."""

    async def revoked_at(self, name: str) -> float | None:
        """Return when the principal was last revoked, unix seconds."""

    async def put_ticket(self, digest: str, ticket: Ticket, seconds: float) -> None:
        """Keep a ticket for so long."""

    async def take_ticket(self, digest: str) -> Ticket | None:
        """Return a ticket, once."""


class RedisAccess:
    """Access over one link."""

    def __init__(self, link: Server) -> None:
        self._link = link
        self._scripts = load_scripts()

    async def add_key(self, record: KeyRecord) -> None:
        """Make a key known to all gateways."""
        await self._link.command("HSET", keys.API_KEYS, record.id, msgspec.json.encode(record))

    async def key(self, key_id: str) -> KeyRecord | None:
        """Look a key up."""
        raw = await self._link.command("HGET", keys.API_KEYS, key_id)
        return None if raw is None else msgspec.json.decode(raw, type=KeyRecord)

    async def all_keys(self) -> Sequence[KeyRecord]:
        """Return all keys, also those that have expired."""
        raw = await self._link.command("HVALS", keys.API_KEYS)
        found = [msgspec.json.decode(each, type=KeyRecord) for each in raw]
        return sorted(found, key=lambda record: (record.created, record.id))

    async def revoke_key(self, key_id: str) -> bool:
        """Forget a key and tell all gateways; False if there was none."""
        reply = await self._link.script(
            self._scripts["revoke_key"], (keys.API_KEYS, keys.CONTROL), key_id, f"key {key_id}"
        )
        return bool(reply)

    async def revoke_principal(self, name: str) -> None:
        """Let no token of this principal in that was issued up to now, and tell all gateways."""
        await self._link.script(
            self._scripts["revoke_principal"],
            (keys.revoked(name), keys.CONTROL),
            LONGEST_SECONDS,
            f"principal {name}",
        )

    async def revoked_at(self, name: str) -> float | None:
        """Return when the principal was last revoked, unix seconds."""
        raw = await self._link.command("GET", keys.revoked(name))
        return None if raw is None else float(raw)

    async def put_ticket(self, digest: str, ticket: Ticket, seconds: float) -> None:
        """Keep a ticket for so long."""
        milliseconds = round(seconds * 1000)
        await self._link.command("SET", keys.ticket(digest), msgspec.json.encode(ticket), "PX", milliseconds)

    async def take_ticket(self, digest: str) -> Ticket | None:
        """Return a ticket, once."""
        raw = await self._link.command("GETDEL", keys.ticket(digest))
        return None if raw is None else msgspec.json.decode(raw, type=Ticket)


class RevocationReader:
    """Listens for revocations on a connection of its own, so that no flood of tokens delays them."""

    def __init__(self, url: str, on_revoked: Callable[[str, str], None], on_link: Callable[[], None]) -> None:
        """Call ``on_revoked('key' | 'principal', which)`` for each, ``on_link()`` after each new link."""
        self._on_revoked = on_revoked
        self._reader = listen(url, self._message, on_link)

    def start(self) -> None:
        """Begin to connect and to listen."""
        self._reader.want([keys.CONTROL.encode()])
        self._reader.start()

    async def ready(self) -> None:
        """Return once the server has confirmed that it will be heard."""
        await self._reader.subscribe(keys.CONTROL.encode())

    async def close(self) -> None:
        """End the connection."""
        await self._reader.close()

    def _message(self, _: bytes, data: bytes) -> None:
        kind, which = text_of(data).split(" ", 1)
        self._on_revoked(kind, which)
