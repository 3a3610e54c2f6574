"""A response that is taken away while a worker computes it."""

from __future__ import annotations

from store_bench import eventually
from whole import Whole, whole

from gateway.auth import DEVELOPER


async def running(system: Whole) -> list[int]:
    return [each.info.running for each in await system.store.workers()]


async def test_a_response_that_is_deleted_in_mid_answer_ends_for_its_viewer_and_leaves_the_engine(valkey):
    async with whole(valkey) as system:
        (viewer,) = await system.views(1, tokens=3000)
        await eventually(lambda: announced(system, 1))

        assert await system.store.delete(viewer.response_id, DEVELOPER.name)

        last = await viewer.end()
        assert (last["type"], last["response"]["status"]) == ("response.incomplete", "cancelled")
        await eventually(lambda: announced(system, 0))
        assert [line["standing"] for line in system.logged("claim_lost")] == ["ended"]


async def announced(system: Whole, count: int) -> bool:
    return await running(system) == [count]
