"""Everybody who was let in and is still here: ends their stay when their credential ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from gateway.principal import Credential, Principal
from shared.observe import Log
from shared.store.contract import StoreUnavailable


class Visitor(Protocol):
    """A socket, or an HTTP answer that is being given."""

    @property
    def principal(self) -> Principal:
        """Whose it is."""

    def expel(self, reason: str) -> None:
        """End it: its credential is no longer good."""


class Roster:
    """All visitors of a gateway.  ``still`` looks a credential up; ``wall`` tells unix seconds."""

    def __init__(
        self, still: Callable[[Principal], Awaitable[bool]], wall: Callable[[], float], log: Log
    ) -> None:
        self._still = still
        self._wall = wall
        self._log = log
        self._here: set[Visitor] = set()

    def __len__(self) -> int:
        return len(self._here)

    def add(self, visitor: Visitor) -> None:
        """Note that somebody came in; credentials that never end need no watch."""
        if visitor.principal.credential is not Credential.NONE:
            self._here.add(visitor)

    def discard(self, visitor: Visitor) -> None:
        """Note that somebody has left."""
        self._here.discard(visitor)

    async def look(self) -> None:
        """End the stay of those whose credential has run out."""
        now = self._wall()
        for visitor in list(self._here):
            if visitor.principal.expires is not None and visitor.principal.expires <= now:
                self._expel(visitor, "the credential has expired")

    async def recheck(self) -> None:
        """Look up every credential again: what tells of revocations may have been lost."""
        await self._recheck(list(self._here))

    async def revoked(self, kind: str, which: str) -> None:
        """Look up the credentials that a revocation may be about."""
        names = {"key": lambda each: each.credential_id, "principal": lambda each: each.name}
        if kind in names:
            await self._recheck([each for each in self._here if names[kind](each.principal) == which])

    async def _recheck(self, visitors: Iterable[Visitor]) -> None:
        """Nobody is sent away because the store does not answer: it is asked again the next time."""
        good: dict[tuple[str, Credential, str], bool] = {}
        for visitor in visitors:
            who = visitor.principal
            credential = (who.name, who.credential, who.credential_id)
            if credential not in good:
                try:
                    good[credential] = await self._still(who)
                except StoreUnavailable:
                    return
            if not good[credential]:
                self._expel(visitor, "the credential was revoked")

    def _expel(self, visitor: Visitor, reason: str) -> None:
        if visitor in self._here:
            self._here.discard(visitor)
            who = visitor.principal
            self._log.info("expelled", principal=who.name, credential=who.credential_id, reason=reason)
            visitor.expel(reason)
