import pytest
from gateway_bench import in_memory


@pytest.fixture
async def bench():
    async with in_memory() as made:
        yield made
