"""The stores that the contract suite runs on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from store_bench import Bench, in_memory, on_server


@pytest.fixture(params=["memory", "valkey", "valkey-4-partitions", "redis7"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """The store under test."""
    if request.param == "memory":
        yield in_memory()
        return
    server, _, partitions = request.param.partition("-")
    async with on_server(request.getfixturevalue(server), int(partitions[:1] or 1)) as made:
        yield made
