"""Everybody reconnects at once (F17): a bounded rate comes in, the others are told when, and all are back soon."""

from __future__ import annotations

import asyncio

from gateway_bench import dialled, in_memory, rest_of, until

from gateway import door
from tokenwire.client import stream

CLIENTS = 40
RATE = 12.0


async def test_f17_a_storm_of_reconnects_is_let_in_at_a_bounded_rate_and_everybody_gets_the_same_text():
    async with in_memory(handshakes_per_second=RATE) as bench:
        clients = [
            stream("Hello", base_url=f"http://{bench.authority}/v1", api_key="x", idempotency_key="one")
            for _ in range(CLIENTS)
        ]

        async def read(client) -> str:
            return "".join([piece async for piece in client])

        readers = [asyncio.create_task(read(client)) for client in clients]
        claim = await bench.hand.claim()
        await bench.hand.say(claim, "one ")
        await until(lambda: all(client.text for client in clients), 60)
        turned_away = bench.metric("rejections_total", reason="overloaded")
        assert turned_away >= CLIENTS - 2 * RATE  # one second's worth, and who came in time

        for socket in list(bench.gateway._sockets._open):
            socket._socket.transport.abort()
        await bench.hand.say(claim, "two ", "three")
        await until(lambda: all(client.text == "one two three" for client in clients), 60)
        await bench.hand.finish(claim)

        assert await asyncio.wait_for(asyncio.gather(*readers), 60) == ["one two three"] * CLIENTS
        assert all(client.resumes >= 1 for client in clients)
        assert bench.metric("rejections_total", reason="overloaded") > turned_away


async def test_who_is_turned_away_is_told_when_to_come_back_and_costs_no_handshake():
    async with in_memory(handshakes_per_second=1) as bench:
        async with bench.client():
            pass
        head = (
            b"GET /v1/responses HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        async with dialled(bench) as (reader, writer):
            writer.write(head)
            answer = await rest_of(reader)
        assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"\r\nRetry-After: 1\r\n" in answer
        assert b'"code":"overloaded"' in answer
        async with bench.http() as http:
            assert (await http.get("/v1/models")).status_code == 200  # requests are no handshakes


async def test_connections_that_say_nothing_are_bounded(monkeypatch):
    monkeypatch.setattr(door, "MOST_UNDECIDED", 3)
    async with in_memory() as bench:
        silent = [await asyncio.open_connection("127.0.0.1", bench.gateway.port) for _ in range(3)]
        await until(lambda: len(bench.gateway._door._undecided) == 3)

        async with dialled(bench) as (reader, _):
            assert (await rest_of(reader)).startswith(b"HTTP/1.1 503")

        silent[0][1].close()
        await until(lambda: len(bench.gateway._door._undecided) == 2)
        async with bench.client() as client:
            await client.create()
        for _, writer in silent:
            writer.transport.abort()
