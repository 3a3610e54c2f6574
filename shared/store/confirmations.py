"""Which channels a server has confirmed, and who waits until it has."""

from __future__ import annotations

import asyncio


class Confirmations:
    """The channels that are listened to now, and a wait for each that somebody wants to be sure of.

    A confirmation may be lost with its link; a wait is not: it ends with the next one, on whatever link.
    """

    def __init__(self) -> None:
        self.standing: set[bytes] = set()
        self._waiters: dict[bytes, asyncio.Future[None]] = {}

    async def wait(self, channel: bytes) -> None:
        """Return once the channel is confirmed.  Cancelled if it is given up before."""
        if channel in self.standing:
            return
        waiter = self._waiters.get(channel)
        if waiter is None:
            waiter = self._waiters[channel] = asyncio.get_running_loop().create_future()
        await asyncio.shield(waiter)

    def add(self, channel: bytes) -> None:
        """Note that the channel is listened to, and end the wait for it."""
        self.standing.add(channel)
        waiter = self._waiters.pop(channel, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def lose(self, channel: bytes) -> None:
        """Note that the channel is not listened to now; who waits for it goes on waiting."""
        self.standing.discard(channel)

    def lose_all(self) -> None:
        """Note that the link is gone."""
        self.standing.clear()

    def give_up(self, channel: bytes) -> None:
        """Forget a channel that is not wanted any more, and cancel the wait for it."""
        self.lose(channel)
        waiter = self._waiters.pop(channel, None)
        if waiter is not None:
            waiter.cancel()

    def close(self) -> None:
        """Cancel all waits."""
        for waiter in self._waiters.values():
            waiter.cancel()
