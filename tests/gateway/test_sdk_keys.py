"""The official client, unchanged, against a gateway that asks for keys and counts."""

import openai
import pytest
from credentials import bearer, make_key
from gateway_fleet import on_server
from websockets.exceptions import InvalidStatus

from shared.quota import Quota
from shared.store.access import RedisAccess
from shared.store.link import Link


@pytest.fixture
async def door(valkey):
    """A gateway, and a client with alice's key; she may ask once in a minute, and hold one socket."""
    async with on_server(valkey, auth=("keys",)) as [bench]:
        link = Link.to(valkey)
        key = await make_key(RedisAccess(link), "alice", quota=Quota(sockets=1, requests_per_minute=1))
        async with client(bench, key.text) as sdk:
            yield bench, sdk
        await link.close()


def client(bench, key):
    return openai.AsyncOpenAI(base_url=f"http://{bench.authority}/v1", api_key=key, max_retries=0)


async def test_a_good_key_streams_over_both_doors(door):
    bench, sdk = door
    async with sdk.responses.connect() as connection:
        await connection.response.create(model="tiny", input="Hello")
        await bench.hand.answer("Hel", "lo")
        texts = []
        async for event in connection:
            if event.type == "response.output_text.delta":
                texts.append(event.delta)
            if event.type == "response.completed":
                break
    assert "".join(texts) == event.response.output_text == "Hello"
    assert [model.id async for model in sdk.models.list()] == ["tiny"]
    assert (await sdk.responses.retrieve(event.response.id)).output_text == "Hello"


async def test_a_wrong_key_is_an_authentication_error(door):
    bench, _ = door
    async with client(bench, "wrong") as stranger:
        with pytest.raises(openai.AuthenticationError) as caught:
            await stranger.responses.create(model="tiny", input="Hello")
        assert caught.value.code == "invalid_api_key"
        with pytest.raises(openai.AuthenticationError):
            await stranger.chat.completions.create(
                model="tiny", messages=[{"role": "user", "content": "Hello"}]
            )
        with pytest.raises(InvalidStatus) as refused:
            async with stranger.responses.connect():
                pass
    assert refused.value.response.status_code == 401


async def test_one_request_too_many_is_a_rate_limit_error_that_says_when(door):
    bench, sdk = door
    raw = await sdk.responses.with_raw_response.create(model="tiny", input="Hello", background=True)
    assert raw.headers["x-ratelimit-remaining-requests"] == "0"
    with pytest.raises(openai.RateLimitError) as caught:
        await sdk.responses.create(model="tiny", input="Hello", background=True)
    assert caught.value.code == "rate_limit_exceeded"
    assert 0 < int(caught.value.response.headers["retry-after"]) <= 60
    async with sdk.responses.connect() as connection:
        await connection.response.create(model="tiny", input="Hello")
        event = await anext(aiter(connection))
    assert (event.type, event.error.code) == ("error", "rate_limit_exceeded")
    assert bench.metric("rejections_total", reason="rate_limit_exceeded") == 2


async def test_one_socket_too_many_is_refused_at_the_handshake(door):
    _, sdk = door
    async with sdk.responses.connect():
        with pytest.raises(InvalidStatus) as refused:
            async with sdk.responses.connect():
                pass
    assert refused.value.response.status_code == 429


async def test_a_foreign_response_is_not_found(door, valkey):
    bench, sdk = door
    response = await sdk.responses.create(model="tiny", input="Hello", background=True)
    link = Link.to(valkey)
    bob = await make_key(RedisAccess(link), "bob")
    await link.close()
    async with client(bench, bob.text) as other:
        for verb in (other.responses.retrieve, other.responses.cancel, other.responses.delete):
            with pytest.raises(openai.NotFoundError):
                await verb(response.id)
    assert (await sdk.responses.retrieve(response.id)).status == "queued"
    async with bench.http() as http:
        answer = await http.get(f"/v1/responses/{response.id}", headers=bearer(bob.text))
    assert answer.json()["error"]["code"] == "response_not_found"
