"""How much later a client has a token because Tokenwire stands between it and the engine.

A token is born when its step is over and arrives when its client's process has read it.  Ours goes through worker,
store, gateway and a WebSocket; the peer's engine runs in the process that writes the WebSockets (`bench/direct_server`).
Both make all streams' tokens in one step, as engines that batch do, so the last of a thousand waits for the others'
writes on either way.  What ours adds is the result.
"""

from __future__ import annotations

import asyncio
import statistics

import uvloop

from bench.client import opened, streaming
from bench.measure import Row, differences, show
from bench.served import Way, nothing_between, tokenwire

_SHAPES = ((1, 50), (100, 50), (1000, 20))
"""Streams, and tokens a second of each."""
_SECONDS = 3.0
_ROUNDS = 3
_PERCENTILES = (50, 95, 99)


def run() -> None:
    """Measure and print."""
    for streams, rate in _SHAPES:
        figures = _compared(streams, rate)
        for percent in _PERCENTILES:
            rows = [
                Row(name, [percentiles[percent] for percentiles in each]) for name, each in figures.items()
            ]
            title = (
                f"path: p{percent} from a token's step to its client, {streams} streams at {rate} tokens/s"
            )
            show(title, "us", rows, differences)


def _compared(streams: int, rate: int) -> dict[str, list[dict[int, float]]]:
    """Return the percentiles of every round, by way."""
    ways: dict[str, Way] = {"nothing between": nothing_between, "tokenwire": tokenwire}
    figures: dict[str, list[dict[int, float]]] = {name: [] for name in ways}
    for _ in range(_ROUNDS):
        for name, way in ways.items():
            with way(streams, rate) as server:
                figures[name].append(_percentiles(uvloop.run(_seen(server.port, streams))))
    return figures


async def _seen(port: int, streams: int) -> list[int]:
    """Return the age in nanoseconds of each token that came within the time."""
    clients = await opened(port, streams)
    await streaming(clients)
    for client in clients:
        client.ages.clear()
    await asyncio.sleep(_SECONDS)
    ages = [age for client in clients for age in client.ages]
    for client in clients:
        client.transport.abort()
    return ages


def _percentiles(ages: list[int]) -> dict[int, float]:
    """Return the percentiles in microseconds."""
    cuts = statistics.quantiles(ages, n=100)
    return {percent: cuts[percent - 1] / 1000 for percent in _PERCENTILES}
