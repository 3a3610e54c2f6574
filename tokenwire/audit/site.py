"""Where the servers of an audited fleet are, and what a strike at them may do with the fleet."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from typing import Protocol, TypeVar

from tokenwire.audit.facts import Struck
from tokenwire.audit.proxy import Proxy
from tokenwire.audit.schedule import Strike

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Hit(Protocol):
    """A process of the fleet, as far as a strike at a server hits it too."""

    proxy: Proxy

    @property
    def target(self) -> str:
        """Name by which the evidence knows it."""

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""


M = TypeVar("M", bound=Hit)


class Fleet(Protocol[M]):
    """The processes that stand on a site."""

    @property
    def members(self) -> Sequence[M]:
        """All workers and gateways."""

    workers: list[M]
    gateways: list[M]

    async def kill(self, member: M) -> None:
        """End a process at once."""

    async def start_again(self, member: M) -> None:
        """Start what was killed."""


class Site(Protocol):
    """Servers, as the fleet knows them."""

    @property
    def url(self) -> str:
        """Where the servers are; known once they have started."""

    @property
    def proxied(self) -> bool:
        """Whether each process reaches the server through a proxy of its own."""

    @property
    def partitions(self) -> int:
        """Hash tags to spread responses over."""

    async def start(self) -> None:
        """Start them.  Raises CommandError."""

    async def stop(self) -> None:
        """End them; nothing of theirs is kept."""

    async def dial(self) -> Streams:
        """Connect to the one server, for a proxy."""

    async def strike(self, strike: Strike, fleet: Fleet[M]) -> Struck | None:
        """Carry out a strike at the servers and wait until they serve again."""
