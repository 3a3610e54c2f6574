"""Since when gateways have reached a partition: who looks gone after an outage is judged by it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from store_bench import LEASES, Bench, eventually, on_server

from shared.store.contract import Standing, Watch
from shared.store.link import Link

GAP = 4 * LEASES.attachment
"""Longer than half an attachment lease by far, also on a busy machine."""


@pytest.fixture
async def bench(valkey: str) -> AsyncIterator[Bench]:
    async with on_server(valkey, 1) as made:
        yield made


@contextlib.asynccontextmanager
async def beating(bench: Bench) -> AsyncIterator[None]:
    """A gateway looks at the partition again and again."""

    async def beat() -> None:
        while True:
            await bench.gateway.sweep("model")
            await asyncio.sleep(LEASES.attachment / 20)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_whoever_leaves_while_gateways_reach_the_server_is_judged(bench: Bench):
    request = await bench.submitted(keep=0.05)
    worker = await bench.worker()
    claim = await bench.claimed(worker)

    async def left() -> bool:
        return await worker.renew([claim]) == [Standing.LEFT]

    async with beating(bench):
        await bench.gateway.detach(request.response_id, "tab")
        await eventually(left, 20)


async def test_nobody_is_judged_by_what_nobody_could_renew_and_later_all_are_again(bench: Bench):
    await bench.submitted(keep=0.05)
    worker = await bench.worker()
    claim = await bench.claimed(worker)
    await bench.gateway.sweep("model")
    await asyncio.sleep(GAP)  # no gateway can reach the server: the viewer's lease runs out

    before = await worker.renew([claim])
    await bench.gateway.sweep("model")
    after = await worker.renew([claim])

    assert (before, after) == ([Standing.OURS], [Standing.OURS])

    async def left() -> bool:
        return await worker.renew([claim]) == [Standing.LEFT]

    async with beating(bench):
        await eventually(left, 20)


async def test_a_viewer_that_renews_its_lease_is_a_pulse_too(bench: Bench, valkey: str):
    request = await bench.submitted(keep=-1)
    link = Link.to(valkey)

    await bench.gateway.attend([Watch(request.response_id, "tab")])
    first = await link.command("HGETALL", "{p0}pulse")
    await asyncio.sleep(LEASES.attachment / 8)
    await bench.gateway.attend([Watch(request.response_id, "tab")])
    second = await link.command("HGETALL", "{p0}pulse")

    assert int(second[b"last"]) > int(first[b"last"]) == int(first[b"since"])
    assert 0 < await link.command("PTTL", "{p0}pulse") <= 86_400_000
    await link.close()


async def test_without_any_pulse_the_servers_uptime_decides_as_in_older_versions(bench: Bench):
    request = await bench.submitted(keep=0.05)
    worker = await bench.worker()
    claim = await bench.claimed(worker)
    await bench.gateway.detach(request.response_id, "tab")

    async def left() -> bool:
        return await worker.renew([claim]) == [Standing.LEFT]

    await eventually(left, 20)


async def test_a_clock_that_was_moved_back_is_a_gap_and_not_an_hour_without_judgement(
    bench: Bench, valkey: str
):
    await bench.submitted(keep=0.05)
    worker = await bench.worker()
    claim = await bench.claimed(worker)
    link = Link.to(valkey)
    seconds, _ = await link.command("TIME")
    ahead = (int(seconds) + 3600) * 1000
    await link.command("HSET", "{p0}pulse", "last", ahead, "since", ahead)
    await link.close()

    async def left() -> bool:
        return await worker.renew([claim]) == [Standing.LEFT]

    assert not await left()
    async with beating(bench):
        await eventually(left, 20)
