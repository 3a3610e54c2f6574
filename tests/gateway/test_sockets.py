import json

import pytest
from gateway_bench import in_memory
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1.evil.example:80"])
async def test_a_foreign_origin_is_refused_before_the_upgrade(bench, origin):
    with pytest.raises(InvalidStatus) as caught:
        async with bench.client(origin=origin):
            pass
    assert caught.value.response.status_code == 403
    assert json.loads(caught.value.response.body)["error"]["code"] == "origin_not_allowed"


async def test_the_gateways_own_page_and_listed_origins_may_connect():
    async with in_memory(origins=("https://chat.example",)) as bench:
        for origin in (f"http://{bench.authority}", "https://chat.example"):
            async with bench.client(origin=origin) as client:
                assert client.connection.response.headers["x-request-id"]


async def test_a_bad_query_is_refused_before_the_upgrade(bench):
    with pytest.raises(InvalidStatus) as caught:
        async with bench.client("?response_id=nobody"):
            pass
    assert caught.value.response.status_code == 404


async def test_compression_is_never_agreed_and_our_subprotocol_is(bench):
    url = f"ws://{bench.authority}/v1/responses"
    async with connect(url, subprotocols=["other", "tokenwire.v1"]) as connection:
        assert "Sec-WebSocket-Extensions" not in connection.response.headers
        assert connection.subprotocol == "tokenwire.v1"
    async with connect(url, subprotocols=["other"]) as connection:
        assert connection.subprotocol is None


async def test_a_drain_closes_every_socket_to_be_resumed_and_ends_no_answer():
    async with in_memory() as bench, bench.client() as busy, bench.client() as idle:
        await busy.create()
        claim = await bench.hand.claim()
        await busy.until("response.content_part.added")
        await bench.gateway.stop()
        assert await busy.closed() == 1012
        assert await idle.closed() == 1012
        assert bench.gateway.ready() is not None
        record = bench.server.records[claim.response_id]
        assert not record.status.terminal
