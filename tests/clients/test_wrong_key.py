"""Every client of this folder with a wrong key, and with the right one."""

import pytest
from openai import AsyncOpenAI, AuthenticationError
from other_clients import llm, node
from stack import running_stack
from websockets.exceptions import InvalidStatus

KEY = "the-right-key-of-the-tester"
WRONG = "a-key-that-nobody-was-given"
CHAT = {"model": "echo", "messages": [{"role": "user", "content": "one two "}], "max_tokens": 2}


@pytest.fixture(scope="module")
def locked(valkey):
    with running_stack(valkey, key=KEY) as made:
        yield made


async def test_the_python_package_says_so_and_works_with_the_right_one(locked):
    async with AsyncOpenAI(base_url=f"{locked.url}/v1", api_key=WRONG, max_retries=0) as client:
        for stream in (False, True):
            with pytest.raises(AuthenticationError) as refused:
                await client.chat.completions.create(**CHAT, stream=stream)
            assert refused.value.code == "invalid_api_key"
        with pytest.raises(AuthenticationError):
            await client.responses.create(input="x")
        with pytest.raises(AuthenticationError):
            await client.models.list()
        with pytest.raises(InvalidStatus) as handshake:
            async with client.responses.connect():
                pass
        assert handshake.value.response.status_code == 401
        right = client.with_options(api_key=KEY)
        assert (await right.chat.completions.create(**CHAT)).choices[0].message.content == "one two "


@pytest.mark.parametrize("scene", ["chat", "chat_json", "json", "sse_stream", "ws_wrong_key"])
async def test_the_node_package_says_so_and_works_with_the_right_one(locked, node_packages, scene):
    error = (await node(node_packages, locked.url, scene, WRONG))["error"]
    assert error["status"] == 401 or "401" in error["message"]
    assert (await node(node_packages, locked.url, scene, KEY))["ok"]["text"]


async def test_the_llm_command_says_so_and_works_with_the_right_one(locked, tmp_path):
    code, out, err = await llm(tmp_path, locked.url, "-m", "chat", "one two ", key=WRONG)
    assert (code != 0, out.strip()) == (True, "")
    assert "No valid API key was given" in err
    code, out, err = await llm(
        tmp_path, locked.url, "-m", "chat", "-o", "max_tokens", "2", "one two ", key=KEY
    )
    assert (code, out.strip()) == (0, "one two"), err
