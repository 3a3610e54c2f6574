"""Where the servers of an audited fleet are: how they are started, reached and struck."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from asyncio.subprocess import DEVNULL
from asyncio.subprocess import Process as Running
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Protocol, TypeVar

from shared.store import keys
from shared.store.cluster import slot_of
from tokenwire import tether
from tokenwire.audit.facts import Struck
from tokenwire.audit.findings import spelled
from tokenwire.audit.proxy import Proxy
from tokenwire.audit.schedule import Fault, Strike
from tokenwire.errors import FAILED, CommandError
from tokenwire.servers import Node, Nodes, Watched, alone, as_cluster, under_sentinel, until
from tokenwire.valkey import answers, command, find_program

T = TypeVar("T")
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_START_SECONDS = 60.0
_AOF = ("--appendonly", "yes", "--appendfsync", "everysec")
_SLOW = 0.15
"""Seconds by which a slow server is late, each way."""
_TAIL_BYTES = 40_000
"""What a power cut takes of the AOF: some hundred entries."""
_BUFFER_BYTES = 20_000
"""What a subscriber may be behind before a server with a small buffer cuts it."""
_ROUNDS = 6
_DOWN_AFTER_MS = 1000


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
        log = (self._folder / "valkey.log").open("ab")
        try:
            self._server = await asyncio.create_subprocess_exec(
                *tether.command(os.getpid(), command(find_program(), self._path), signal.SIGKILL),
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            log.close()
        deadline = time.monotonic() + _START_SECONDS
        while not await asyncio.to_thread(answers, self._path):  # it gives no sign of its own
            if self._server.returncode is not None or time.monotonic() > deadline:
                raise CommandError(f"The server did not start: see {self._folder / 'valkey.log'}.", FAILED)
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


class _Threaded:
    """Servers that are started and struck by calls that block, each in a thread."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    async def _enter(self, made: AbstractContextManager[T]) -> T:
        return await asyncio.to_thread(self._stack.enter_context, made)

    async def stop(self) -> None:
        """End them; nothing of theirs is kept."""
        await asyncio.to_thread(self._stack.close)


class Single(_Threaded):
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
        self._node = await self._enter(alone(find_program(), *_AOF, tethered=True))

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


class _Direct(_Threaded):
    """Servers that clients find by themselves: nothing stands between."""

    proxied = False

    async def dial(self) -> Streams:
        """Raise: there are several servers."""
        raise RuntimeError("several servers are not reached through a proxy")


class Sentinelled(_Direct):
    """A primary and its replica, watched by a Sentinel."""

    partitions = 1

    def __init__(self) -> None:
        super().__init__()
        self._watched: Watched | None = None

    @property
    def watched(self) -> Watched:
        """The servers.  Raises RuntimeError before the start."""
        if self._watched is None:
            raise RuntimeError("the servers are not started")
        return self._watched

    @property
    def url(self) -> str:
        """Where the Sentinel is."""
        return self.watched.url

    async def start(self) -> None:
        """Start them.  Raises CommandError."""
        self._watched = await self._enter(under_sentinel(find_program(), _DOWN_AFTER_MS, tethered=True))

    async def strike(self, strike: Strike, fleet: Fleet[M]) -> Struck | None:
        """Kill the primary and wait until the replica has taken over."""
        del fleet
        if strike.fault is not Fault.FAIL_OVER:
            raise ValueError(f"{strike.fault} is no strike at servers under Sentinel")
        begin = time.time()
        await asyncio.to_thread(self.watched.primary.kill)
        await asyncio.to_thread(until, self.watched.promoted)
        return Struck(strike.fault, "", begin, time.time())


class Clustered(_Direct):
    """A Cluster of three nodes with AOFs."""

    partitions = 12

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._draw = random.Random(f"cluster {seed}")  # noqa: S311 - a schedule that replays
        self._nodes: Nodes | None = None

    @property
    def nodes(self) -> Nodes:
        """The nodes.  Raises RuntimeError before the start."""
        if self._nodes is None:
            raise RuntimeError("the Cluster is not started")
        return self._nodes

    @property
    def url(self) -> str:
        """Where the nodes are."""
        return self.nodes.url

    async def start(self) -> None:
        """Start them.  Raises CommandError."""
        options = (*_AOF, "--cluster-require-full-coverage", "no")
        self._nodes = await self._enter(as_cluster(find_program(), *options, tethered=True))

    async def strike(self, strike: Strike, fleet: Fleet[M]) -> Struck | None:
        """Carry out a strike; its target are the partitions that it hits."""
        del fleet
        begin = time.time()
        if strike.fault is Fault.MOVE_SLOTS:
            hit = await self._move(strike.target)
        elif strike.fault is Fault.LOSE_NODE:
            hit = await self._lose(strike.seconds)
        else:
            raise ValueError(f"{strike.fault} is no strike at a Cluster")
        return Struck(strike.fault, spelled(hit), begin, time.time())

    async def _move(self, count: int) -> list[int]:
        """Move so many partitions to the next node, one after the other."""
        moved = self._draw.sample(range(self.partitions), count)
        for partition in moved:
            await asyncio.to_thread(self._move_one, slot_of(keys.tag(partition)))
        return moved

    def _move_one(self, slot: int) -> None:
        nodes = self.nodes.nodes
        source = self.nodes.holder(slot)
        self.nodes.move(slot, nodes[(nodes.index(source) + 1) % len(nodes)])

    async def _lose(self, seconds: float) -> list[int]:
        """Kill a node, not the one that knows the workers: without that one nothing new is taken anywhere."""
        holders = await asyncio.to_thread(self._holders)
        home = await asyncio.to_thread(self.nodes.holder, slot_of(keys.WORKERS))
        lost = self._draw.choice([node for node in self.nodes.nodes if node is not home])
        await asyncio.to_thread(lost.kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(lost.start)
        await asyncio.to_thread(until, lambda: b"cluster_state:ok" in lost.ask("CLUSTER", "INFO"))
        return [partition for partition, node in enumerate(holders) if node is lost]

    def _holders(self) -> list[Node]:
        return [self.nodes.holder(slot_of(keys.tag(partition))) for partition in range(self.partitions)]


def evicts(program: Callable[[], Path] = find_program) -> AbstractContextManager[Node]:
    """Return a server, not started, that drops keys when its memory is full."""
    return alone(program(), "--maxmemory-policy", "allkeys-lru", tethered=True)
