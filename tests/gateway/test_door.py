import asyncio
import functools
import json

from gateway_bench import (
    PATIENCE,
    assert_contiguous,
    dialled,
    in_memory,
    rest_of,
    slow_socket,
    text_of,
    until,
)
from websockets.asyncio.client import connect

from gateway import connection, door, plain
from gateway.door import HEAD_BYTES
from gateway.outbox import CEILING, LIMIT, Outbox

HANDSHAKE = (
    b"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"  # of RFC 6455
)
UPGRADE = b"GET /v1/responses HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\nConnection: Upgrade"


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
        writer.write(UPGRADE.replace(b"Host: x", b"Host: 127.0.0.1") + HANDSHAKE)
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


async def test_a_slow_reader_gets_merged_events_and_the_whole_text(bench):
    raw = slow_socket(bench.gateway.port)
    options = {"sock": raw, "compression": None, "max_queue": 1, "ping_interval": None}
    async with connect(f"ws://{bench.authority}/v1/responses", **options) as connection:
        await connection.send(json.dumps({"type": "response.create", "input": "x"}))
        claim = await bench.hand.claim()
        connection.transport.pause_reading()
        texts = [f"{n:06d}" + "x" * 94 for n in range(3000)]
        await bench.hand.say(claim, *texts)
        await until(lambda: bench.metric("outbox_bytes") > LIMIT)
        waiting = bench.metric("outbox_bytes")
        assert waiting < LIMIT + sum(map(len, texts))  # beyond the limit the envelopes are saved
        await bench.hand.finish(claim)
        connection.transport.resume_reading()
        events = []
        async with asyncio.timeout(PATIENCE):
            while not events or events[-1]["type"] != "response.completed":
                events.append(json.loads(await connection.recv()))
        assert_contiguous(events)
        assert text_of(events) == "".join(texts)
        assert any("first_sequence_number" in event for event in events)
        assert bench.metric("merged_deltas_total") > 0
        assert bench.metric("outbox_bytes") == 0


async def test_a_reader_that_stops_costs_bounded_bytes_and_the_others_wait_for_nothing():
    async with in_memory() as bench, bench.client() as healthy:
        raw = slow_socket(bench.gateway.port)
        options = {"sock": raw, "compression": None, "max_queue": 1, "ping_interval": None}
        stalled = await connect(f"ws://{bench.authority}/v1/responses", **options)
        await stalled.send(json.dumps({"type": "response.create", "input": "x"}))
        theirs = await bench.hand.claim()
        stalled.transport.pause_reading()
        await healthy.create()
        ours = await bench.hand.claim()
        await healthy.until("response.content_part.added")
        waiting, seen = [], []
        for n in range(400):
            await bench.hand.say(theirs, "x" * 8000)
            await bench.hand.say(ours, f"{n} ")
            seen.append(await healthy.event())  # before anything else is said to either
            waiting.append(bench.metric("outbox_bytes"))
        assert [each["delta"] for each in seen] == [f"{n} " for n in range(400)]
        assert not any("first_sequence_number" in each for each in seen)
        assert LIMIT < max(waiting) <= CEILING + 9000
        assert bench.metric("slow_client_closes_total") == 1
        assert bench.lines("socket_closed")[0]["code"] == 1013
        after_the_cut = waiting[waiting.index(max(waiting)) :]
        assert after_the_cut == sorted(after_the_cut, reverse=True)
        await until(lambda: bench.metric("outbox_bytes") == 0)
        assert not bench.server.records[theirs.response_id].status.terminal
        stalled.transport.abort()
        await stalled.wait_closed()


async def test_a_reader_that_dribbles_gets_the_same_text_merged_or_is_cut():
    async with in_memory() as bench:
        raw = slow_socket(bench.gateway.port)
        async with dialled(bench, sock=raw, limit=4096) as (reader, writer):
            writer.write(UPGRADE.replace(b"Host: x", b"Host: 127.0.0.1") + HANDSHAKE)
            await reader.readuntil(b"\r\n\r\n")
            writer.write(masked(json.dumps({"type": "response.create", "input": "x"}).encode()))
            claim = await bench.hand.claim()
            await reader.readuntil(b"content_part.added")
            waiting = []
            for _ in range(400):
                await bench.hand.say(claim, "x" * 8000)
                assert len(await reader.read(1)) == 1
                await asyncio.sleep(0)
                waiting.append(bench.metric("outbox_bytes"))
            assert max(waiting) <= CEILING + 9000
            assert bench.metric("slow_client_closes_total") == 1
            assert bench.lines("socket_closed")[0]["code"] == 1013


def masked(payload):
    """One text frame of a client, with a mask that changes nothing (RFC 6455 section 5.3)."""
    return b"\x81" + bytes([0x80 | len(payload)]) + bytes(4) + payload


async def test_one_that_dribbles_what_it_sends_is_read_to_the_end(bench):
    async with dialled(bench) as (reader, writer):
        writer.write(UPGRADE.replace(b"Host: x", b"Host: 127.0.0.1") + HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        for byte in masked(json.dumps({"type": "response.create", "input": "x"}).encode()):
            writer.write(bytes([byte]))
            await writer.drain()
        async with asyncio.timeout(PATIENCE):
            assert b"response.created" in await reader.readuntil(b"response.created")


async def test_an_ending_that_waits_for_a_slow_reader_is_not_called_done():
    async with in_memory(session_seconds=1.0) as bench:
        raw = slow_socket(bench.gateway.port)
        options = {"sock": raw, "compression": None, "max_queue": 1, "ping_interval": None}
        slow = await connect(f"ws://{bench.authority}/v1/responses", **options)
        await slow.send(json.dumps({"type": "response.create", "input": "x"}))
        claim = await bench.hand.claim()
        slow.transport.pause_reading()
        await bench.hand.say(claim, *["x" * 1000] * 200)
        await bench.hand.finish(claim)
        await until(lambda: bench.lines("socket_closed"))
        closed = bench.lines("socket_closed")[0]
        assert (closed["code"], closed["reason"]) == (1012, "resumable")
        slow.transport.abort()
        await slow.wait_closed()


async def test_one_that_takes_nothing_is_cut_and_harms_nobody(monkeypatch):
    monkeypatch.setattr(connection, "Outbox", functools.partial(Outbox, patience=0.2))
    monkeypatch.setattr(connection, "CLOSE_SECONDS", 0.2)
    async with in_memory() as bench, bench.client() as healthy:
        raw = slow_socket(bench.gateway.port)
        options = {"sock": raw, "compression": None, "max_queue": 1, "ping_interval": None}
        stalled = await connect(f"ws://{bench.authority}/v1/responses", **options)
        await stalled.send(json.dumps({"type": "response.create", "input": "x"}))
        claim = await bench.hand.claim()
        stalled.transport.pause_reading()
        await healthy.send(type="response.resume", response_id=claim.response_id)
        texts = ["x" * 100] * 3000
        await bench.hand.say(claim, *texts)
        await until(lambda: bench.metric("slow_client_closes_total") == 1)
        await until(lambda: bench.metric("connections", door="websocket") == 1)
        await bench.hand.finish(claim)
        assert text_of(await healthy.until("response.completed")) == "".join(texts)
        assert bench.lines("socket_closed")[0]["code"] == 1013
        stalled.transport.abort()
        await stalled.wait_closed()
