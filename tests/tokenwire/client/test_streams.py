"""The client's shells against real processes, with a proxy between them that cuts."""

import asyncio
import base64
import hashlib
import re
import threading

import pytest
from cutting import cutting
from stack import running_stack
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosedError

from tokenwire.client import Failed, Lost, Refused, StreamError, Unreachable, stream, streams
from tokenwire.client.wire import socket_url

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, section 1.3."""
TEXT = "one two three four five "


@pytest.fixture(scope="module")
def stack(valkey):
    with running_stack(valkey) as made:
        yield made


def asked(url, tokens=100, **fields):
    return stream(TEXT, base_url=url, max_output_tokens=tokens, temperature=0, **fields)


async def read(answer, how):
    """Read it all, in a thread or on the loop."""
    if how == "sync":
        return await asyncio.to_thread(lambda: "".join(answer))
    return "".join([piece async for piece in answer])


@pytest.mark.parametrize("how", ["sync", "async"])
async def test_a_stream_that_is_cut_again_and_again_is_whole(stack, how):
    async with cutting(stack.port, [600, 3_000, 2_500, 4_000]) as (url, seen):
        answer = asked(url)
        text = await read(answer, how)
    assert text == answer.text == TEXT * 20
    assert len(seen) >= 4  # a replay is merged, so it may be over before its cut
    assert answer.resumes >= 2  # a cut before the first event repeats the create instead
    assert answer.usage["output_tokens"] == 100
    assert answer.response["status"] == "incomplete"
    assert answer.response_id == answer.response["id"]


@pytest.mark.parametrize("how", ["sync", "async"])
async def test_a_cancel_ends_it_with_what_there_is(stack, how):
    answer = asked(stack.url, 2_000)
    pieces = []
    if how == "sync":

        def stop_at_once():
            for piece in answer:
                pieces.append(piece)
                answer.cancel()

        await asyncio.to_thread(stop_at_once)
    else:
        async for piece in answer:
            pieces.append(piece)
            answer.cancel()
    assert answer.response["status"] == "cancelled"
    assert answer.response["output"][0]["content"][0]["text"] == "".join(pieces) == answer.text
    assert answer.usage["output_tokens"] < 2_000


async def test_a_cancel_from_another_thread_reaches_an_async_stream(stack):
    answer = asked(stack.url, 2_000)
    async for _ in answer:
        threading.Thread(target=answer.cancel).start()
    assert answer.response["status"] == "cancelled"


async def test_a_key_makes_two_streams_one_response(stack):
    one, other = (asked(stack.url, idempotency_key="twice") for _ in range(2))
    texts = await asyncio.gather(read(one, "sync"), read(other, "async"))
    assert one.response_id == other.response_id
    assert texts[0] == texts[1] == TEXT * 20


@pytest.mark.parametrize("how", ["sync", "async"])
async def test_a_refusal_is_raised_with_its_code(stack, how):
    answer = asked(stack.url, 0)
    with pytest.raises(Refused) as refused:
        await read(answer, how)
    assert (refused.value.code, answer.response_id) == ("invalid_request", None)


@pytest.mark.parametrize("how", ["sync", "async"])
async def test_nobody_there_is_told_when_patience_is_over(free_port, how):
    answer = asked(f"http://127.0.0.1:{free_port}", patience=0.3)
    with pytest.raises(Unreachable):
        await read(answer, how)


@pytest.mark.parametrize("how", ["sync", "async"])
async def test_a_server_that_shakes_hands_and_freezes_is_told_when_patience_is_over(how):
    """Its kernel takes what is sent, and nobody reads it: it answers neither the create nor our close."""
    served = []

    async def freeze(reader, writer):
        key = re.search(rb"sec-websocket-key: *(\S+)", await reader.readuntil(b"\r\n\r\n"), re.IGNORECASE)[1]
        digest = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
        head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        writer.write(head + b"Sec-WebSocket-Accept: " + digest + b"\r\n\r\n")
        served.append(writer)

    server = await asyncio.start_server(freeze, "127.0.0.1", 0)
    answer = asked(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", patience=0.3)
    async with asyncio.timeout(8):  # ten seconds were lost in waiting for its close alone
        with pytest.raises(Unreachable, match=r"has said nothing for 0\.3 seconds"):
            await read(answer, how)
    assert len(served) == 1
    for writer in served:
        writer.close()
    server.close()


@pytest.mark.parametrize("how", ["sync", "async"])
async def test_a_connection_reset_before_its_handshake_is_another_try(stack, how, monkeypatch):
    tries = []

    def reset_once(connect):
        def connected(*arguments, **options):
            tries.append(connect)
            if len(tries) == 1:
                raise ConnectionClosedError(None, None)  # whether it comes to this is a race in the library
            return connect(*arguments, **options)

        return connected

    name = f"connect_{how}"
    monkeypatch.setattr(streams, name, reset_once(getattr(streams, name)))
    assert await read(asked(stack.url, 10), how) == TEXT * 2
    assert len(tries) == 2


@pytest.mark.parametrize("how", ["sync", "async"])
async def test_a_handshake_refused_for_good_is_told_in_the_servers_words(stack, how):
    answer = asked(f"{stack.url}/somewhere/else")
    with pytest.raises(Refused) as refused:
        await read(answer, how)
    assert refused.value.code == "not_found"


async def test_a_stream_is_read_once(stack):
    answer = asked(stack.url, 2)
    assert "".join([piece async for piece in answer]) == "one two "
    with pytest.raises(RuntimeError, match="read once"):
        list(answer)


async def test_a_server_that_closes_for_good_is_believed():
    async def handle(connection):
        await connection.close(1008)

    async with serve(handle, "127.0.0.1", 0) as server:
        answer = asked(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(Refused, match="no longer authorised"):
            await read(answer, "async")


@pytest.mark.parametrize("base", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"])
def test_a_base_url_may_end_in_v1_or_not(base):
    assert socket_url(base) == "ws://h:1/v1/responses"


@pytest.mark.parametrize("base", ["h:1", "ftp://h", "http://", ""])
def test_a_base_url_that_is_none_is_refused(base):
    with pytest.raises(ValueError, match="begins with http"):
        stream("x", base_url=base)


@pytest.mark.parametrize("key", ["tw_…", "tw_1\n", "tw_1\r\nHost: other"])
def test_a_key_that_cannot_stand_in_a_header_is_refused_and_not_repeated(key):
    with pytest.raises(ValueError, match="line end or a letter that is not ASCII") as refused:
        stream("x", api_key=key)
    assert key not in str(refused.value)


def test_all_errors_are_one_kind():
    assert all(issubclass(kind, StreamError) for kind in (Refused, Failed, Lost, Unreachable))
