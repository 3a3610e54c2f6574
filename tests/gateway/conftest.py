import pytest
import uvloop
from gateway_bench import in_memory

from shared.store.access import RedisAccess
from shared.store.link import Link


def pytest_asyncio_loop_factories():
    """Run on the loop that gateways run on: flow control differs between loops."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def bench():
    async with in_memory() as made:
        yield made


@pytest.fixture
async def access(valkey):
    """Keys and tickets on an emptied server."""
    link = Link.to(valkey)
    await link.command("FLUSHALL")
    yield RedisAccess(link)
    await link.close()
