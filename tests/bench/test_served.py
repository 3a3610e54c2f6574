"""What the benchmarks of streams are run against, and the client that looks at it."""

import asyncio

import pytest

from bench.client import opened, streaming
from bench.served import Way, nothing_between, tokenwire


async def ages_of(port: int) -> list[list[int]]:
    clients = await opened(port, 2)
    async with asyncio.timeout(60):
        await streaming(clients)
    for client in clients:
        client.transport.abort()
    return [client.ages for client in clients]


@pytest.mark.parametrize("way", [nothing_between, tokenwire])
def test_each_stream_brings_tokens_that_are_as_old_as_their_way(way: Way):
    with way(2, 50) as served:
        for ages in asyncio.run(ages_of(served.port)):
            assert len(ages) >= 20
            assert all(age > 0 for age in ages)


def test_a_socket_that_is_refused_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("bench.client._HANDSHAKE", b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    with nothing_between(1, 50) as served, pytest.raises(ConnectionError, match=r"HTTP/1\.1 200"):
        asyncio.run(opened(served.port, 1))
