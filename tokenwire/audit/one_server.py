"""Sites of one server: how it is started, reached and struck."""

from __future__ import annotations

import asyncio
import signal
import time
from asyncio.subprocess import Process as Running
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import TypeVar

from tokenwire.audit import child
from tokenwire.audit.facts import Struck
from tokenwire.audit.schedule import Fault, Strike
from tokenwire.audit.site import Fleet, M, Streams
from tokenwire.errors import FAILED, CommandError
from tokenwire.servers import Node, alone
from tokenwire.valkey import answers, command, find_program

T = TypeVar("T")
_START_SECONDS = 60.0
AOF = ("--appendonly", "yes", "--appendfsync", "everysec")
_SLOW = 0.15
"""Seconds by which a slow server is late, each way."""
_TAIL_BYTES = 40_000
"""What a power cut takes of the AOF: some hundred entries."""
_BUFFER_BYTES = 20_000
"""What a subscriber may be behind before a server with a small buffer cuts it."""
_ROUNDS = 6


class Embedded:
    """One server on a unix socket that keeps nothing on disk and is never struck."""

    proxied = True
    partitions = 1

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "valkey.sock"
        self._server: Running | None = None

    @property
    def url(self) -> str:
        """Where it is, not through a proxy."""
        return f"unix://{self._path}"

    async def start(self) -> None:
        """Start it.  Raises CommandError."""
        log = self._folder / "valkey.log"
        self._server = await child.start(command(find_program(), self._path), log)
        deadline = time.monotonic() + _START_SECONDS
        while not await asyncio.to_thread(answers, self._path):  # it gives no sign of its own
            if self._server.returncode is not None or time.monotonic() > deadline:
                raise CommandError(f"The server did not start: see {log}.", FAILED)
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """End it."""
        if self._server is not None:
            with suppress(ProcessLookupError):
                self._server.kill()
            await self._server.wait()

    async def dial(self) -> Streams:
        """Connect to it."""
        return await asyncio.open_unix_connection(self._path, limit=1 << 16)

    async def strike(self, strike: Strike, fleet: Fleet[M]) -> Struck | None:
        """Refuse: it has nothing to bring back what a strike took."""
        del fleet
        raise ValueError(f"{strike.fault} needs servers that may be struck")


class Threaded:
    """Servers that are started and struck by calls that block, each in a thread."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    async def _enter(self, made: AbstractContextManager[T]) -> T:
        return await asyncio.to_thread(self._stack.enter_context, made)

    async def stop(self) -> None:
        """End them; nothing of theirs is kept."""
        await asyncio.to_thread(self._stack.close)


class Single(Threaded):
    """One server with an AOF, reached through proxies."""

    proxied = True
    partitions = 1

    def __init__(self, node: Node | None = None) -> None:
        """Take a server that somebody else starts and ends, or make one."""
        super().__init__()
        self._node = node

    @property
    def node(self) -> Node:
        """The server.  Raises RuntimeError before the start."""
        if self._node is None:
            raise RuntimeError("the server is not started")
        return self._node

    @property
    def url(self) -> str:
        """Where it is, not through a proxy."""
        return self.node.url

    async def start(self) -> None:
        """Start it.  Raises CommandError."""
        self._node = await self._enter(alone(find_program(), *AOF, tethered=True))

    async def dial(self) -> Streams:
        """Connect to it."""
        return await asyncio.open_connection("127.0.0.1", self.node.port, limit=1 << 16)

    async def strike(self, strike: Strike, fleet: Fleet[M]) -> Struck | None:
        """Carry out a strike and wait until the server serves again."""
        begin, target = time.time(), ""
        match strike.fault:
            case Fault.RESTART_SERVER:
                await asyncio.to_thread(self.node.restart)
            case Fault.KILL_SERVER:
                await self._kill(strike.seconds)
            case Fault.LOSE_TAIL:
                target = await self._lose_tail(fleet)
            case Fault.SLOW_SERVER:
                await _delayed(fleet, strike.seconds)
            case Fault.CUT_SUBSCRIBERS:
                await self._cut_subscribers(strike.seconds)
            case Fault.OVERRUN_SUBSCRIBER:
                await self._overrun(fleet, strike)
            case Fault.FILL_MEMORY:
                await self._fill(strike.seconds)
            case _:
                raise ValueError(f"{strike.fault} is no strike at one server")
        return Struck(strike.fault, target, begin, time.time())

    async def _kill(self, seconds: float) -> None:
        await asyncio.to_thread(self.node.kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self.node.start)

    async def _lose_tail(self, fleet: Fleet[M]) -> str:
        """Kill a worker and the server, whose last writes are gone: nobody is left who knows them."""
        owner = fleet.workers[0]
        await fleet.kill(owner)
        await asyncio.to_thread(self.node.kill)
        await asyncio.to_thread(self.node.cut_tail, _TAIL_BYTES)
        await asyncio.to_thread(self.node.start)
        await fleet.start_again(owner)
        return owner.target

    async def _cut_subscribers(self, seconds: float) -> None:
        for _ in range(_ROUNDS):
            await asyncio.to_thread(self.node.ask, "CLIENT", "KILL", "TYPE", "PUBSUB")
            await asyncio.sleep(seconds / _ROUNDS)

    async def _overrun(self, fleet: Fleet[M], strike: Strike) -> None:
        """Freeze a gateway until the server has cut it: what it did not take was over the buffer's limit."""
        frozen = fleet.gateways[strike.target % len(fleet.gateways)]
        limit = f"pubsub {_BUFFER_BYTES} {_BUFFER_BYTES} 1"
        await asyncio.to_thread(self.node.ask, "CONFIG", "SET", "client-output-buffer-limit", limit)
        frozen.send(signal.SIGSTOP)
        await asyncio.sleep(strike.seconds)
        frozen.send(signal.SIGCONT)
        limit = "pubsub 33554432 8388608 60"
        await asyncio.to_thread(self.node.ask, "CONFIG", "SET", "client-output-buffer-limit", limit)

    async def _fill(self, seconds: float) -> None:
        await asyncio.to_thread(self.node.ask, "CONFIG", "SET", "maxmemory", 1)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self.node.ask, "CONFIG", "SET", "maxmemory", 0)


async def _delayed(fleet: Fleet[M], seconds: float) -> None:
    """Make every packet of every process late, and reset all links in the middle of it."""
    for member in fleet.members:
        member.proxy.delay = _SLOW
    await asyncio.sleep(seconds / 2)
    for member in fleet.members:
        member.proxy.cut()
    await asyncio.sleep(seconds / 2)
    for member in fleet.members:
        member.proxy.delay = 0.0


def evicts(program: Callable[[], Path] = find_program) -> AbstractContextManager[Node]:
    """Return a server, not started, that drops keys when its memory is full."""
    return alone(program(), "--maxmemory-policy", "allkeys-lru", tethered=True)
