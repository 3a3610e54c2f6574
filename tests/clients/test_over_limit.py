"""Official clients whose principal has used up its minute: each says so in its own words, with a time."""

import pytest
from openai import AsyncOpenAI, OpenAI, RateLimitError
from other_clients import node
from stack import running_stack

KEY = "the-key-of-a-tester-of-limits"
ASK = {"model": "echo", "input": "one two ", "max_output_tokens": 2}
CHAT = {"model": "echo", "messages": [{"role": "user", "content": "one two "}], "max_tokens": 2}
MANY = 12
"""More than the minute has room for, also while it refills."""

# The package opens websockets' sync client without a with block, which that one is about to forbid.
pytestmark = pytest.mark.filterwarnings(
    "ignore:connect.. must be used as a context manager:DeprecationWarning"
)


@pytest.fixture(scope="module")
def bounded(valkey):
    with running_stack(valkey, key=KEY, REQUESTS_PER_PRINCIPAL="3") as made:
        yield made


def said_so(refused):
    assert refused.value.status_code == 429
    assert refused.value.code == "rate_limit_exceeded"
    assert int(refused.value.response.headers["retry-after"]) >= 1


def test_the_sync_python_package_raises_its_own_error_with_a_time(bounded):
    with OpenAI(base_url=f"{bounded.url}/v1", api_key=KEY, max_retries=0) as client:
        with pytest.raises(RateLimitError) as refused:
            [client.responses.create(**ASK) for _ in range(MANY)]
        said_so(refused)
        with client.responses.connect() as connection:
            for _ in range(MANY):
                connection.send({"type": "response.create", **ASK})
            error = next(event for event in connection if event.type == "error")
        assert error.error.code == "rate_limit_exceeded"


async def test_the_async_python_package_raises_its_own_error_with_a_time(bounded):
    async with AsyncOpenAI(base_url=f"{bounded.url}/v1", api_key=KEY, max_retries=0) as client:
        for stream in (False, True):
            with pytest.raises(RateLimitError) as refused:
                [await client.chat.completions.create(**CHAT, stream=stream) for _ in range(MANY)]
            said_so(refused)


@pytest.mark.parametrize("scene", ["json", "sse_stream", "ws_stream"])
async def test_the_node_package_says_so(bounded, node_packages, scene):
    for _ in range(MANY):
        told = await node(node_packages, bounded.url, scene, KEY)
        if "error" in told:
            break
    assert told["error"]["status"] == 429 or "in a minute" in told["error"]["message"]
