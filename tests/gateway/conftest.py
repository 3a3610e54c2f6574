import pytest
import uvloop
from gateway_bench import in_memory


def pytest_asyncio_loop_factories():
    """Run on the loop that gateways run on: flow control differs between loops."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def bench():
    async with in_memory() as made:
        yield made
