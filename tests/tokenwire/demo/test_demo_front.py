import asyncio
import contextlib
import socket

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosedError

from tokenwire.demo.front import Front, rewritten


async def answer(reader, writer):
    """A gateway that says what it was asked, and ends its connection as it is asked to."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"\r\nConnection: close\r\n" in head
    said = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
    writer.write(said % (len(head), head))
    await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def fronted(upstream, strike=None):
    async def nothing(_fault):
        return None

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    front = Front(port, upstream, strike or nothing)
    await front.start()
    try:
        yield front, f"127.0.0.1:{port}"
    finally:
        await front.stop()


async def test_every_request_of_a_browser_that_keeps_connections_is_looked_at():
    pressed = []

    async def strike(fault):
        pressed.append(fault)
        return "killed" if fault == "kill-worker" else None

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with fronted(port, strike) as (_, host), httpx2.AsyncClient(base_url=f"http://{host}") as browser:
        for _ in range(2):
            said = (await browser.get("/v1/models?a=1", headers={"Origin": f"http://{host}"})).text
            assert said.startswith("GET /v1/models?a=1 HTTP/1.1\r\n")
            assert f"Host: {host}".lower() in said.lower()
            assert f"Origin: http://{host}".lower() in said.lower()
            assert (await browser.post("/demo/kill-worker")).json() == {"done": "killed"}
        assert (await browser.post("/demo/sink-ship")).status_code == 404
    assert pressed == ["kill-worker", "kill-worker", "sink-ship"]
    server.close()
    await server.wait_closed()


async def test_a_socket_is_passed_on_and_cut_without_a_goodbye():
    async def echo(connection):
        async for message in connection:
            await connection.send(message)

    async with serve(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with fronted(port) as (_, host), connect(f"ws://{host}/v1/responses") as page:
            await page.send("hello")
            assert await page.recv() == "hello"
            async with httpx2.AsyncClient() as browser:
                pressed = await browser.post(f"http://{host}/demo/cut-socket")
            assert pressed.json() == {"done": "1 socket cut"}
            with pytest.raises(ConnectionClosedError):
                await page.recv()
            assert page.close_code == 1006


async def test_without_a_gateway_a_connection_is_closed_at_once():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with fronted(nobody.getsockname()[1]) as (_, host), httpx2.AsyncClient() as browser:
            with pytest.raises(httpx2.RemoteProtocolError):
                await browser.get(f"http://{host}/")


def test_a_rewritten_head_ends_its_connection():
    head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"
    assert rewritten(head) == b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
