"""How a gateway sends its clients elsewhere: spread over time, so that they do not all come back at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Protocol


class Guest(Protocol):
    """A socket or stream that can be sent elsewhere."""

    def drain(self) -> None:
        """End it so that the client knows to go on elsewhere."""


class Drain:
    """All sockets and streams of a gateway, and whether they are being sent elsewhere."""

    def __init__(self) -> None:
        self.begun = False
        """New sockets and streams are refused."""
        self._guests: set[Guest] = set()

    def __len__(self) -> int:
        return len(self._guests)

    def add(self, guest: Guest) -> None:
        """Take a guest in; one that was let in just before the drain began goes at once."""
        self._guests.add(guest)
        if self.begun:
            guest.drain()

    def discard(self, guest: Guest) -> None:
        """Let go of a guest."""
        self._guests.discard(guest)

    async def send_away(self, seconds: float, draw: Callable[[], float] = random.random) -> None:
        """Send everybody elsewhere over so many seconds; ``draw`` returns a number from 0 up to 1."""
        self.begun = True
        loop = asyncio.get_running_loop()
        began = loop.time()
        guests = sorted(self._guests, key=lambda _: draw())
        for guest, moment in zip(guests, moments(len(guests), seconds, draw), strict=True):
            await asyncio.sleep(max(0.0, began + moment - loop.time()))
            guest.drain()


def moments(count: int, seconds: float, draw: Callable[[], float]) -> list[float]:
    """Return ``count`` rising moments in ``seconds``: one anywhere in each of as many equal parts."""
    return [(part + draw()) * seconds / count for part in range(count)]
