"""A TCP link between a client and a server on loopback, which a test can cut and shut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Cuttable:
    """Passes bytes both ways between who connects to ``port`` and a server on ``target``."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.accepted = 0
        self._shut = False
        self._open: set[asyncio.StreamWriter] = set()
        self._connected = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> int:
        """Reset every connection, as a lost network path does; return how many there were."""
        writers = list(self._open)
        for writer in writers:
            writer.transport.abort()
        self._connected.clear()
        return len(writers) // 2

    async def carrying(self) -> None:
        """Wait until somebody has connected since the last cut."""
        await self._connected.wait()

    def shut(self) -> None:
        """Let nobody connect until `open`."""
        self._shut = True

    def open(self) -> None:
        self._shut = False

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side ends it."""
        if self._shut:
            writer.transport.abort()
            return
        self.accepted += 1
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.target)
        pair = {writer, there_writer}
        self._open |= pair
        self._connected.set()
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pump(reader, there_writer))
                both.create_task(_pump(there_reader, writer))
        finally:
            self._open -= pair
            for each in pair:
                each.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.transport.abort()  # one direction is gone, so the other may not wait for it


@asynccontextmanager
async def cuttable(target: int) -> AsyncIterator[Cuttable]:
    """Stand in front of the server on port ``target`` until the block ends."""
    link = Cuttable(target)
    server = await asyncio.start_server(link.carry, "127.0.0.1", 0)
    link.port = server.sockets[0].getsockname()[1]
    try:
        yield link
    finally:
        server.close()
        link.cut()
