"""Sites of several servers: a primary with its replica, and a Cluster."""

from __future__ import annotations

import asyncio
import random
import time

from shared.store import keys
from shared.store.cluster import slot_of
from tokenwire.audit.facts import Struck
from tokenwire.audit.findings import spelled
from tokenwire.audit.one_server import AOF, Threaded
from tokenwire.audit.schedule import Fault, Strike
from tokenwire.audit.site import Fleet, M, Streams
from tokenwire.servers import Node, Nodes, Watched, as_cluster, under_sentinel, until
from tokenwire.valkey import find_program

_DOWN_AFTER_MS = 1000


class _Direct(Threaded):
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
        options = (*AOF, "--cluster-require-full-coverage", "no")
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
