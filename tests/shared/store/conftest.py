"""The stores that the contract suite runs on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from servers import Nodes, as_cluster, redis_program, under_sentinel, valkey_program
from store_bench import Bench, in_memory, on_server

CLUSTER_PARTITIONS = 8
"""Enough for every node to have some."""


@pytest.fixture(scope="session")
def sentinel() -> Iterator[str]:
    """URL of a Redis 7.0 with a replica under Sentinel."""
    with under_sentinel(redis_program(), down_after_ms=30_000) as made:
        yield made.url


@pytest.fixture(scope="session")
def nodes() -> Iterator[Nodes]:
    """A Cluster of three Valkeys."""
    with as_cluster(valkey_program()) as made:
        yield made


@pytest.fixture(scope="session")
def cluster(nodes: Nodes) -> str:
    """URL of the Cluster."""
    return nodes.url


@pytest.fixture(
    params=["memory", "valkey", "valkey-4", "redis7", "sentinel", f"cluster-{CLUSTER_PARTITIONS}"]
)
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """The store under test; the number is that of its partitions."""
    if request.param == "memory":
        yield in_memory()
        return
    server, _, partitions = request.param.partition("-")
    async with on_server(request.getfixturevalue(server), int(partitions or 1)) as made:
        yield made
