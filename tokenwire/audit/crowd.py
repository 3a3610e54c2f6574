"""One process full of clients: ``python -m tokenwire.audit.crowd``, led by JSON lines on its standard input."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
from pathlib import Path
from typing import BinaryIO

import msgspec
import uvloop

from shared.background import background
from tokenwire.audit.asks import Load, asks, burst, poison
from tokenwire.audit.client import Viewer
from tokenwire.audit.desk import Desk
from tokenwire.audit.transcript import Stall, Viewing
from tokenwire.audit.websocket import Address

_TICK = 0.05
_STALLED = 0.1
"""Seconds by which a tick must be late to count: smaller ones are what a busy machine does all the time."""


class Orders(msgspec.Struct):
    """What a crowd is told at its start."""

    seed: int
    first: int
    """Index of its first client."""
    clients: int
    gateways: list[str]
    key: str
    transcripts: str
    load: Load


class Word(msgspec.Struct, omit_defaults=True):
    """What a crowd is told later."""

    burst: int = 0
    """So many clients ask at once."""
    poison: bool = False
    at: float = 0.0
    finish: float = 0.0
    """Ask no more, and be over within so many seconds."""


class Progress(msgspec.Struct):
    """What a crowd tells every half second; ``over`` with the last one."""

    asked: int = 0
    ended: int = 0
    sockets: int = 0
    refused: int = 0
    seen: int = 0
    stops: int = 0
    over: bool = False
    stalls: list[Stall] = []


class Stalls:
    """Notices when this process did not get the processor."""

    def __init__(self) -> None:
        self.found: list[Stall] = []

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            due = time.time() + _TICK
            await asyncio.sleep(_TICK)
            now = time.time()
            if now - due > _STALLED:
                self.found.append(Stall(due - _TICK, now))


class Crowd:
    """All clients of this process."""

    def __init__(self, orders: Orders, transcripts: BinaryIO) -> None:
        self._orders = orders
        self._file = transcripts
        draw = random.Random(f"crowd {orders.seed} {orders.first}")  # noqa: S311 - choices of clients
        self.desk = Desk([Address.of(url, orders.key) for url in orders.gateways], draw, self._put)
        self.stalls = Stalls()

    async def run(self, words: asyncio.StreamReader) -> None:
        """Be all clients until told to finish."""
        orders = self._orders
        watch = background(self.stalls.watch(), "stalls")
        tell = background(self._tell(), "tell")
        for n in range(orders.clients):
            self.desk.spawn(self._client(orders.first + n, 2.0 * n / orders.clients))
        seconds = await self._obey(words)
        self.desk.closing = True
        await self._wind_up(seconds)
        for task in (watch, tell):
            task.cancel()
        await asyncio.gather(watch, tell, return_exceptions=True)
        self._say(over=True)

    async def _client(self, client: int, delay: float) -> None:
        await asyncio.sleep(delay)
        for ask in asks(self._orders.seed, client, self._orders.load):
            if self.desk.closing:
                return
            await Viewer(self.desk, ask).run()
            await asyncio.sleep(0 if self.desk.closing else ask.think)

    async def _obey(self, words: asyncio.StreamReader) -> float:
        """Do what comes on standard input; return the seconds allowed for the end."""
        while line := await words.readline():
            word = msgspec.json.decode(line, type=Word)
            for n in range(word.burst):
                ask = burst(self._orders.seed, word.at, self._orders.first + n, self._orders.load)
                self.desk.spawn(Viewer(self.desk, ask).run(once=True))
            if word.poison:
                self.desk.spawn(Viewer(self.desk, poison(self._orders.seed, word.at)).run())
            if word.finish:
                return word.finish
        return 0.0

    async def _wind_up(self, seconds: float) -> None:
        """Let all viewers finish; who does not is cut, and its transcript says so."""
        deadline = time.time() + seconds
        while self.desk.tasks and time.time() < deadline:
            await asyncio.wait(set(self.desk.tasks), timeout=deadline - time.time())
        left = set(self.desk.tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _put(self, viewing: Viewing) -> None:
        self._file.write(msgspec.json.encode(viewing) + b"\n")

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            self._say(over=False)

    def _say(self, *, over: bool) -> None:
        desk = self.desk
        progress = Progress(desk.asked, desk.ended, desk.sockets, desk.refused, desk.seen, desk.stops, over)
        if over:
            progress.stalls = self.stalls.found
        sys.stdout.buffer.write(msgspec.json.encode(progress) + b"\n")
        sys.stdout.buffer.flush()


async def main() -> None:
    """Read the orders, then be a crowd."""
    words = asyncio.StreamReader(limit=1 << 20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
    orders = msgspec.json.decode(await words.readline(), type=Orders)
    with contextlib.closing(Path(orders.transcripts).open("wb")) as file:  # noqa: ASYNC230 - before all clients
        await Crowd(orders, file).run(words)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
