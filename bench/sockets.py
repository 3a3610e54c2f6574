"""What one more socket costs a gateway: memory and CPU while it says nothing, memory while an answer runs on it.

The peer is the same library's server with nothing behind it (`bench/direct_server`), which holds a socket and knows
neither principals nor limits nor clocks.  Memory is what the process has resident; what the kernel keeps for a socket
is not in it.
"""

from __future__ import annotations

import asyncio
import resource
from dataclasses import dataclass

import psutil
import uvloop

from bench.client import Client, opened, streaming
from bench.measure import Cpu, Row, show
from bench.served import Served, Way, nothing_between, tokenwire

_IDLE = 2000
_STREAMS = 200
_RATE = 20
_IDLE_SECONDS = 5.0
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class _Cost:
    """What one socket costs."""

    idle_kib: float
    opening_us: float
    idle_us: float
    """CPU a second."""
    streaming_kib: float
    """Besides what it costs idle."""


def run() -> None:
    """Measure and print."""
    _raise_descriptors(2 * _IDLE)
    ways: dict[str, Way] = {"tokenwire": tokenwire, "the library's bare server": nothing_between}
    costs: dict[str, list[_Cost]] = {name: [] for name in ways}
    for _ in range(_ROUNDS):
        for name, way in ways.items():
            with way(_STREAMS, _RATE) as served:
                costs[name].append(uvloop.run(_cost(served)))
    titles = {
        "idle_kib": (f"memory of a socket that says nothing, {_IDLE} of them", "KiB"),
        "opening_us": ("CPU of a handshake", "us"),
        "idle_us": ("CPU of a socket that says nothing", "us a second"),
        "streaming_kib": (f"memory of a streaming answer besides its socket, {_STREAMS} at once", "KiB"),
    }
    for figure, (title, unit) in titles.items():
        rows = [Row(name, [getattr(cost, figure) for cost in each]) for name, each in costs.items()]
        show(f"sockets: {title}", unit, rows)


async def _cost(served: Served) -> _Cost:
    process = psutil.Process(served.pid)
    _leave(await opened(served.port, _STREAMS))  # what the first ones make is there for all
    await asyncio.sleep(1.0)
    before, cpu = process.memory_info().rss, Cpu(served.pid)
    clients = await opened(served.port, _IDLE)
    [opening], after = cpu.spent(), process.memory_info().rss
    cpu = Cpu(served.pid)
    await asyncio.sleep(_IDLE_SECONDS)
    [idle] = cpu.spent()
    between = process.memory_info().rss
    await streaming(clients[:_STREAMS])
    streamed = process.memory_info().rss
    _leave(clients)
    return _Cost(
        (after - before) / 1024 / _IDLE,
        1e6 * opening / _IDLE,
        1e6 * idle / _IDLE_SECONDS / _IDLE,
        (streamed - between) / 1024 / _STREAMS,
    )


def _leave(clients: list[Client]) -> None:
    for client in clients:
        client.transport.abort()


def _raise_descriptors(wanted: int) -> None:
    """Let this process and its children hold so many, where the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
