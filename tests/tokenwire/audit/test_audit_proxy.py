from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenwire.audit.proxy import Proxy, Values

SUBSCRIBE = b"*2\r\n$10\r\nSSUBSCRIBE\r\n$1\r\nc\r\n"


def pushed(text: bytes) -> bytes:
    return b"*3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$%d\r\n%b\r\n" % (len(text), text)


class Server:
    """Says back what it hears, and keeps its connections so that a test can push."""

    def __init__(self) -> None:
        self.writers: list[asyncio.StreamWriter] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


@asynccontextmanager
async def proxied() -> AsyncIterator[tuple[Proxy, Server]]:
    echo = Server()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    echo.port = server.sockets[0].getsockname()[1]
    proxy = Proxy(echo.dial, random.Random(1))
    await proxy.start()
    try:
        yield proxy, echo
    finally:
        await proxy.stop()
        server.close()
        for writer in echo.writers:
            writer.transport.abort()


async def said(proxy: Proxy, words: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(words)
    return reader, writer


async def test_bytes_pass_both_ways():
    async with proxied() as (proxy, _):
        reader, writer = await said(proxy, b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()


async def test_a_cut_ends_every_connection_and_new_ones_pass():
    async with proxied() as (proxy, _):
        reader, cut = await said(proxy, b"hello")
        await reader.readexactly(5)
        assert proxy.cut() == 1
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        cut.transport.abort()
        reader, writer = await said(proxy, b"again")
        assert await reader.readexactly(5) == b"again"
        writer.close()


async def test_a_cut_of_the_live_link_spares_the_others():
    async with proxied() as (proxy, _):
        live, live_writer = await said(proxy, SUBSCRIBE)
        other, writer = await said(proxy, b"hello")
        await live.readexactly(len(SUBSCRIBE))
        await other.readexactly(5)
        assert proxy.cut(live_only=True) == 1
        writer.write(b"still")
        assert await other.readexactly(5) == b"still"
        writer.close()
        live_writer.close()


async def test_a_hole_swallows_everything_until_it_is_healed():
    async with proxied() as (proxy, _):
        reader, writer = await said(proxy, b"hello")
        await reader.readexactly(5)
        proxy.swallow()
        writer.write(b"lost")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.1)
        proxy.heal()
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.transport.abort()
        reader, writer = await said(proxy, b"whole")
        assert await reader.readexactly(5) == b"whole"
        writer.close()


async def test_a_delay_makes_every_packet_late_and_keeps_their_order():
    async with proxied() as (proxy, _):
        proxy.delay = 0.1
        began = time.monotonic()
        reader, writer = await said(proxy, b"one")
        await asyncio.sleep(0.02)
        proxy.delay = 0.0
        writer.write(b"two")
        assert await reader.readexactly(6) == b"onetwo"
        assert time.monotonic() - began >= 0.1
        writer.close()


@pytest.mark.parametrize(("share", "left"), [(0.0, 50), (1.0, 0), (0.5, None)])
async def test_a_share_of_the_live_messages_is_dropped_and_nothing_else(share, left):
    async with proxied() as (proxy, server):
        reader, writer = await said(proxy, SUBSCRIBE)
        await reader.readexactly(len(SUBSCRIBE))
        proxy.drop_share = share
        stream = b"".join(pushed(b"%d" % n) for n in range(50)) + b"+END\r\n"
        for at in range(0, len(stream), 37):
            server.writers[0].write(stream[at : at + 37])
            await server.writers[0].drain()
        got = await reader.readuntil(b"+END\r\n")
        assert got.count(b"smessage") == 50 - proxy.dropped
        assert (got.count(b"smessage") == left) if left is not None else (0 < proxy.dropped < 50)
        writer.close()


resp = st.recursive(
    st.one_of(
        st.binary(max_size=20).map(lambda raw: b"$%d\r\n%b\r\n" % (len(raw), raw)),
        st.integers(-9, 9).map(lambda number: b":%d\r\n" % number),
        st.sampled_from([b"+OK\r\n", b"-ERR no\r\n", b"$-1\r\n", b"*-1\r\n", b"_\r\n"]),
    ),
    lambda inner: st.lists(inner, max_size=4).map(lambda values: b"*%d\r\n" % len(values) + b"".join(values)),
    max_leaves=12,
)


@given(st.lists(resp, max_size=8), st.lists(st.integers(1, 9), min_size=1))
def test_values_come_out_whole_however_they_were_cut(values, sizes):
    stream, reader, found = b"".join(values), Values(), []
    at = n = 0
    while at < len(stream):
        size = sizes[n % len(sizes)]
        found += reader.feed(stream[at : at + size])
        at, n = at + size, n + 1
    assert found == values
