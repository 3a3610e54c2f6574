"""One bench for all stores: the twin in memory and real servers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from shared.log import LiveMessage, new_response_id
from shared.request import Message, Request, Sampling
from shared.store.connect import connect
from shared.store.contract import Claim, GatewayStore, Leases, Live, WorkerStore
from shared.store.gateway import RedisGatewayStore
from shared.store.link import Server
from shared.store.live import LiveReader
from shared.store.memory import MemoryGatewayStore, MemoryLive, MemoryServer, MemoryWorkerStore
from shared.store.worker import RedisWorkerStore

LEASES = Leases(lease=0.15, attachment=0.25, retention=60.0, fit=0.2)
"""Short, so that a test that waits for a lease to run out does not wait long."""
HELD = Leases(lease=1.0, attachment=1.5, retention=60.0, fit=0.2)
"""For a test in which something is held: a busy machine takes longer than the short ones between two steps of it."""


async def eventually(ask: Callable[[], Awaitable[object]], seconds: float = 40.0):
    """Ask until the answer is true; time alone decides about leases, and no event tells of it."""
    deadline = time.monotonic() + seconds
    while not (answer := await ask()):
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.01)
    return answer


@dataclass
class Bench:
    """A gateway's store, as many workers' stores as wanted, and live readers."""

    gateway: GatewayStore
    make_worker: Callable[[str, str], Awaitable[WorkerStore]]
    make_live: Callable[[Callable[[str, LiveMessage], None]], Awaitable[Live]]
    partitions: int = 1
    made: int = field(default=0)

    async def worker(self, name: str = "worker-1", build: str = "build") -> WorkerStore:
        return await self.make_worker(name, build)

    def request(self, **changes: object) -> Request:
        self.made += 1
        fields: dict[str, object] = {
            "response_id": new_response_id(self.made % self.partitions),
            "model": "model",
            "principal": "alice",
            "messages": (Message("user", "Hello"),),
            "sampling": Sampling(max_tokens=16, seed=7),
        }
        return Request(**(fields | changes))

    async def submitted(self, watcher: str | None = "tab", **changes: object) -> Request:
        request = self.request(**changes)
        reply = await self.gateway.submit(request, watcher, 64)
        assert reply.response_id == request.response_id, reply
        return request

    async def claimed(self, worker: WorkerStore, *, solo: bool = True) -> Claim:
        """Wait until the worker gets a claim."""
        claims = await eventually(lambda: worker.claim(1, lambda: solo))
        return claims[0]


async def flush(server: Server) -> None:
    """Empty all servers that hold keys."""
    for link in await server.primaries():
        await link.command("FLUSHALL")


@contextlib.asynccontextmanager
async def on_server(url: str, partitions: int, leases: Leases = LEASES) -> AsyncIterator[Bench]:
    async with contextlib.AsyncExitStack() as stack:

        def link() -> Server:
            made = connect(url)
            stack.push_async_callback(made.close)
            return made

        async def make_worker(name: str, build: str) -> WorkerStore:
            store = RedisWorkerStore(
                link(), url, worker=name, model="model", build=build, partitions=partitions, leases=leases
            )
            stack.push_async_callback(store.close)
            return store

        async def make_live(on_live: Callable[[str, LiveMessage], None]) -> Live:
            live = LiveReader(url, on_live, lambda: None)
            live.start()
            stack.push_async_callback(live.close)
            return live

        first = link()
        await flush(first)
        gateway = RedisGatewayStore(first, name="gateway", partitions=partitions, leases=leases)
        yield Bench(gateway, make_worker, make_live, partitions)


def in_memory(leases: Leases = LEASES) -> Bench:
    server = MemoryServer(time.monotonic, leases)

    async def make_worker(name: str, build: str) -> WorkerStore:
        return MemoryWorkerStore(server, worker=name, model="model", build=build)

    async def make_live(on_live: Callable[[str, LiveMessage], None]) -> Live:
        return MemoryLive(server, on_live)

    return Bench(MemoryGatewayStore(server), make_worker, make_live)
