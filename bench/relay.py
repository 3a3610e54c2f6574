"""What a gateway's processor spends on one token, ours beside the naive one and beside the least there is.

A worker with the echo engine streams to N sockets at a fixed pace; the CPU of the gateway process is
divided by the tokens its sockets were sent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from websockets.asyncio.client import ClientConnection, connect

from bench.measure import Cpu, Row, free_port, python, show, valkey
from shared.log import new_response_id
from shared.request import Message, Request, Sampling
from shared.store.gateway import RedisGatewayStore
from shared.store.link import Link

_RATE = 50
_SECONDS = 4.0
_ROUNDS = 3
_PRINCIPAL = "dev"
_MODULES = {
    "tokenwire": "gateway",
    "floor: the bare kernel and event loop": "bench.floor_gateway",
    "naive: a Pub/Sub connection and JSON a socket": "bench.naive_gateway",
}


def run(sockets: int = 100) -> None:
    """Measure and print."""
    figures: dict[str, list[float]] = {name: [] for name in _MODULES}
    with valkey() as (url, _), _worker(url, sockets):
        for _ in range(_ROUNDS):
            for name, module in _MODULES.items():
                port = free_port()
                environ = {"REDIS_URL": url, "PORT": str(port), "PROBE_PORT": "0", "DRAIN_SECONDS": "0"}
                with python(module, environ) as pid:
                    figures[name].append(asyncio.run(_round(url, port, pid, sockets)))
    rows = [Row(name, each) for name, each in figures.items()]
    show(f"relay: CPU of the gateway per token, {sockets} sockets at {_RATE} tokens/s", "us", rows)


def _worker(url: str, slots: int) -> contextlib.AbstractContextManager[int]:
    return python(
        "worker",
        {
            "REDIS_URL": url,
            "ENGINE": "echo",
            "ECHO_RATE": str(_RATE),
            "SLOTS": str(slots),
            "RESERVE_SLOTS": "0",
            "PROBE_PORT": "0",
            "LOG_BYTES": str(10**9),
        },
    )


async def _round(url: str, port: int, pid: int, sockets: int) -> float:
    """Stream for some seconds and return the microseconds of CPU per token."""
    async with contextlib.AsyncExitStack() as stack:
        link = Link.to(url)
        stack.push_async_callback(link.close)
        store = RedisGatewayStore(link, name="bench")
        connections = []
        for _ in range(sockets):
            response_id = await _submitted(store, stack)
            connections.append(await stack.enter_async_context(_connected(port, response_id)))
        async with asyncio.timeout(60):
            await asyncio.gather(*map(_streams, connections))
        counts = [0] * sockets
        readers = [asyncio.create_task(_count(each, n, counts)) for n, each in enumerate(connections)]
        stack.callback(lambda: [reader.cancel() for reader in readers])
        await asyncio.sleep(1.0)
        cpu, before = Cpu(pid), sum(counts)
        await asyncio.sleep(_SECONDS)
        [seconds], tokens = cpu.spent(), sum(counts) - before
        return 1e6 * seconds / tokens


async def _streams(connection: ClientConnection) -> None:
    """Read up to the first delta."""
    async for message in connection:
        if "output_text.delta" in str(message):
            return


async def _submitted(store: RedisGatewayStore, stack: contextlib.AsyncExitStack) -> str:
    request = Request(
        new_response_id(0),
        "echo",
        _PRINCIPAL,
        (Message("user", "a handful of words to say again"),),
        Sampling(max_tokens=100_000, seed=1),
        keep=-1,
    )
    await store.submit(request, None, 1_000_000)
    stack.push_async_callback(store.cancel, request.response_id, _PRINCIPAL)
    return request.response_id


@contextlib.asynccontextmanager
async def _connected(port: int, response_id: str) -> AsyncIterator[ClientConnection]:
    address = f"ws://127.0.0.1:{port}/v1/responses?response_id={response_id}&starting_after=-1"
    for attempt in range(200):
        try:
            connection = await connect(address, compression=None, max_size=None)
        except OSError:
            if attempt == 199:
                raise
            await asyncio.sleep(0.05)
        else:
            break
    try:
        yield connection
    finally:
        connection.transport.abort()  # a farewell to each would take longer than the round


async def _count(connection: ClientConnection, n: int, counts: list[int]) -> None:
    async for _ in connection:
        counts[n] += 1
