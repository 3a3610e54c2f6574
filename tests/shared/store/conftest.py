"""The stores that the contract suite runs on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from servers import Nodes, Watched, as_cluster, redis_program, under_sentinel, valkey_program
from store_bench import LEASES, Bench, in_memory, on_server

from shared.store.contract import Leases


@pytest.fixture(scope="session")
def sentinel() -> Iterator[Watched]:
    """A Redis 7.0 with a replica under Sentinel; nobody may strike it, others use it too."""
    with under_sentinel(redis_program(), down_after_ms=30_000) as made:
        yield made


@pytest.fixture(scope="session")
def nodes() -> Iterator[Nodes]:
    """A Cluster of three Valkeys; nobody may strike it, others use it too."""
    with as_cluster(valkey_program()) as made:
        yield made


@pytest.fixture
def leases(request: pytest.FixtureRequest) -> Leases:
    """The leases of the store under test; a test may ask for others."""
    return getattr(request, "param", LEASES)


# The number is that of partitions: in the Cluster enough for every node to have some.
@pytest.fixture(params=["memory", "valkey", "valkey-4", "redis7", "sentinel", "nodes-8"])
async def bench(request: pytest.FixtureRequest, leases: Leases) -> AsyncIterator[Bench]:
    """The store under test."""
    if request.param == "memory":
        yield in_memory(leases)
        return
    server, _, partitions = request.param.partition("-")
    running = request.getfixturevalue(server)
    url = running if isinstance(running, str) else running.url
    async with on_server(url, int(partitions or 1), leases) as made:
        yield made
