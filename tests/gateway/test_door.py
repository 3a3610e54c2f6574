import asyncio
import contextlib
import json

from gateway_bench import PATIENCE, dialled, in_memory, rest_of, slow_socket, until
from raw_wire import PING, frame, upgrade

from gateway import door, plain
from gateway.door import HEAD_BYTES


async def dialogue(bench, *pieces):
    """Send bytes piece by piece and return all that comes back."""
    async with dialled(bench) as (reader, writer):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await rest_of(reader)


async def test_a_request_that_comes_in_pieces_is_answered(bench):
    head = b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    answer = await dialogue(bench, *(bytes([byte]) for byte in head))
    assert answer.startswith(b"HTTP/1.1 200")


async def test_a_body_that_comes_with_the_head_is_not_lost(bench):
    body = b'{"input":"x","background":true}'
    head = (
        b"POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    )
    answer = await dialogue(bench, head % len(body) + body)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"queued"' in answer


async def test_a_connection_that_was_kept_alive_may_become_a_socket(bench):
    get = b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    ping = b"\x89\x80\x00\x00\x00\x00"  # RFC 6455 section 5.5.2, masked with zeros
    async with dialled(bench) as (reader, writer):
        for _ in range(2):
            writer.write(get)
            assert (await reader.readuntil(b"]}")).startswith(b"HTTP/1.1 200")
        writer.write(upgrade())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        writer.write(ping)
        assert await reader.readexactly(2) == b"\x8a\x00"
        await until(lambda: bench.metric("connections", door="websocket") == 1)
        assert not bench.gateway._door._state.connections


async def test_an_upgrade_of_another_path_on_a_connection_that_was_kept_alive_is_plain_http(bench):
    get = b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    upgrade = get + b"Upgrade: websocket\r\nConnection: close, Upgrade\r\n\r\n"
    answer = await dialogue(bench, get + b"\r\n", upgrade)
    assert answer.count(b"HTTP/1.1 200") == 2


async def test_a_header_block_without_end_is_refused(bench):
    answer = await dialogue(bench, b"GET / HTTP/1.1\r\nX: " + b"x" * HEAD_BYTES)
    assert answer.startswith(b"HTTP/1.1 431")


async def test_a_header_block_that_does_not_come_in_time_is_cut(monkeypatch):
    monkeypatch.setattr(door, "HEAD_SECONDS", 0.1)
    async with in_memory() as bench, dialled(bench) as (reader, writer):
        writer.write(b"GET / HT")
        assert await rest_of(reader) == b""


async def test_a_second_header_block_must_come_in_time_too(monkeypatch):
    monkeypatch.setattr(plain, "HEAD_SECONDS", 0.1)
    async with in_memory() as bench, dialled(bench) as (reader, writer):
        writer.write(b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await reader.readuntil(b"]}")
        writer.write(b"GET /v1/mod")
        assert await rest_of(reader) == b""


async def test_nonsense_is_answered_400(bench):
    answer = await dialogue(bench, b"\x16\x03\x01nonsense\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")
    assert b'"code":"invalid_request"' in answer


async def test_a_connection_that_says_nothing_and_goes_leaves_nothing(bench):
    async with dialled(bench):
        await until(lambda: bench.gateway._door._undecided)
    await until(lambda: not bench.gateway._door._undecided)
    assert bench.metric("connections", door="websocket") == 0


async def test_a_request_with_a_length_and_in_chunks_is_refused_and_hides_no_other(bench):
    head = b"POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    hidden = b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    answer = await dialogue(bench, head + b"0\r\n\r\n" + hidden)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"not both" in answer
    assert answer.count(b"HTTP/1.1") == 1


async def test_one_that_dribbles_what_it_sends_is_read_to_the_end(bench):
    async with dialled(bench) as (reader, writer):
        writer.write(upgrade())
        await reader.readuntil(b"\r\n\r\n")
        for byte in frame(json.dumps({"type": "response.create", "input": "x"}).encode()):
            writer.write(bytes([byte]))
            await writer.drain()
        async with asyncio.timeout(PATIENCE):
            assert b"response.created" in await reader.readuntil(b"response.created")


async def test_one_that_pings_and_never_reads_is_cut(bench):
    raw = slow_socket(bench.gateway.port)
    async with dialled(bench, sock=raw, limit=4096) as (reader, writer), asyncio.timeout(PATIENCE):
        writer.write(upgrade())
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                writer.write(1000 * frame(bytes(125), PING))
                await writer.drain()
        await until(lambda: not len(bench.gateway._sockets))
