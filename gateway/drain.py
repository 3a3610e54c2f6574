"""How a gateway sends its clients elsewhere: spread over time, so that they do not all come back at once."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Protocol


class Guest(Protocol):
    """A socket or stream that can be sent elsewhere."""

    @property
    def stays(self) -> bool:
        """Whether its client could not go on elsewhere, so that it is given all the time there is."""

    def drain(self) -> None:
        """End it so that the client knows to go on elsewhere."""


class Drain:
    """All sockets and streams of a gateway, and whether they are being sent elsewhere."""

    def __init__(self) -> None:
        self.begun = False
        """New sockets and streams are refused."""
        self._guests: set[Guest] = set()
        self._over = False
        """Nobody is given time any more."""
        self._gone = asyncio.Event()

    def __len__(self) -> int:
        return len(self._guests)

    def add(self, guest: Guest) -> None:
        """Take a guest in; one that was let in just before the drain began goes at once if it can."""
        self._guests.add(guest)
        if self.begun and (self._over or not guest.stays):
            guest.drain()

    def discard(self, guest: Guest) -> None:
        """Let go of a guest."""
        self._guests.discard(guest)
        self._gone.set()

    async def send_away(self, seconds: float, draw: Callable[[], float] = random.random) -> None:
        """Send everybody elsewhere over so many seconds; ``draw`` returns a number from 0 up to 1.

        Who could not go on elsewhere stays to the end of that time, or of the answer.
        """
        self.begun = True
        loop = asyncio.get_running_loop()
        began = loop.time()
        guests = sorted((guest for guest in self._guests if not guest.stays), key=lambda _: draw())
        for guest, moment in zip(guests, moments(len(guests), seconds, draw), strict=True):
            await asyncio.sleep(max(0.0, began + moment - loop.time()))
            guest.drain()
        await self._wait_for_who_stays(began + seconds)
        self._over = True
        for guest in [guest for guest in self._guests if guest.stays]:
            guest.drain()

    async def _wait_for_who_stays(self, deadline: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                while any(guest.stays for guest in self._guests):
                    self._gone.clear()
                    await self._gone.wait()


def moments(count: int, seconds: float, draw: Callable[[], float]) -> list[float]:
    """Return ``count`` rising moments in ``seconds``: one anywhere in each of as many equal parts."""
    return [(part + draw()) * seconds / count for part in range(count)]
