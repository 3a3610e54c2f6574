from __future__ import annotations

import asyncio
import http
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tokenwire.audit.websocket import NO_CODE, Address, RefusedHandshake, dial


@asynccontextmanager
async def gateway(handler, **options) -> AsyncIterator[Address]:
    async with serve(handler, "127.0.0.1", 0, compression=None, **options) as server:
        port = server.sockets[0].getsockname()[1]
        yield Address.of(f"http://127.0.0.1:{port}", "secret")


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def test_text_goes_both_ways_at_any_size():
    got: asyncio.Queue[bytes] = asyncio.Queue()
    async with gateway(echo) as address:
        socket = await dial(address, "", got.put_nowait)
        for size in (0, 1, 125, 126, 65_535):
            assert socket.send(b"x" * size)
            assert await got.get() == b"x" * size
        socket.close()
        await socket.ended.wait()
    assert not socket.send(b"too late")


async def test_long_and_fragmented_frames_come_whole():
    async def speak(connection: ServerConnection) -> None:
        await connection.send("y" * 70_000)
        await connection.send(["one ", "two ", "three"])
        await connection.wait_closed()

    got: asyncio.Queue[bytes] = asyncio.Queue()
    async with gateway(speak) as address:
        socket = await dial(address, "", got.put_nowait)
        assert await got.get() == b"y" * 70_000
        assert await got.get() == b"one two three"
        socket.abort()
        await socket.ended.wait()


async def test_the_key_and_the_query_are_said():
    said: list[tuple[str, str]] = []

    async def listen(connection: ServerConnection) -> None:
        said.append((connection.request.path, connection.request.headers["Authorization"]))
        await connection.wait_closed()

    async with gateway(listen) as address:
        socket = await dial(address, "response_id=r&starting_after=3", print)
        socket.close()
        await socket.ended.wait()
    assert said == [("/v1/responses?response_id=r&starting_after=3", "Bearer secret")]


async def test_a_ping_is_answered():
    answered = asyncio.Event()

    async def ping(connection: ServerConnection) -> None:
        await (await connection.ping())
        answered.set()

    async with gateway(ping) as address:
        await dial(address, "", print)
        async with asyncio.timeout(40):
            await answered.wait()


async def test_the_close_code_is_kept():
    async def restart(connection: ServerConnection) -> None:
        await connection.close(1012)

    async with gateway(restart) as address:
        socket = await dial(address, "", print)
        ended = asyncio.Event()
        socket.on_end = ended.set
        if not socket.ended.is_set():
            await ended.wait()
    assert socket.code == 1012


async def test_a_connection_that_just_ends_has_no_code():
    async def drop(connection: ServerConnection) -> None:
        connection.transport.abort()

    async with gateway(drop) as address:
        socket = await dial(address, "", print)
        await socket.ended.wait()
    assert socket.code == NO_CODE


async def test_a_refused_handshake_says_status_and_headers():
    def refuse(connection: ServerConnection, _request: object) -> object:
        response = connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "busy")
        response.headers["Retry-After"] = "7"
        return response

    async with gateway(echo, process_request=refuse) as address:
        with pytest.raises(RefusedHandshake) as refusal:
            await dial(address, "", print)
    assert (refusal.value.status, refusal.value.headers["retry-after"]) == (503, "7")
    assert refusal.value.body == b"busy"


async def test_nobody_there_is_an_os_error(free_port):
    with pytest.raises(ConnectionRefusedError):
        await dial(Address.of(f"http://127.0.0.1:{free_port}", "k"), "", print)


async def test_a_reader_that_does_not_read_holds_its_sender_up():
    stuck = asyncio.Event()

    async def flood(connection: ServerConnection) -> None:
        try:
            while True:
                try:
                    async with asyncio.timeout(0.2):
                        await connection.send("z" * 10_000)
                except TimeoutError:
                    stuck.set()
                    return
        except ConnectionClosed:
            return

    async with gateway(flood, write_limit=1024, close_timeout=0.1) as address:
        socket = await dial(address, "", lambda _: None, slow=True)
        socket.read_on(False)
        async with asyncio.timeout(40):
            await stuck.wait()
        socket.read_on(True)
        await socket.ended.wait()


def test_an_address_may_have_a_path_and_tls():
    assert Address.of("https://example.org/llm/", "k") == Address(
        "example.org", 443, True, "/llm/v1/responses", "k"
    )
