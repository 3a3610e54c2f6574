"""A small TCP proxy before the gateways: it answers the buttons, and it can cut every socket at once.

It reads no more than a connection's header block.  A request is told to close its connection, so that the next
one is looked at again; a socket is passed on byte by byte.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress

_HEAD_BYTES = 32 * 1024
_CHUNK = 64 * 1024
_END = b"\r\n\r\n"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Front:
    """Listens on ``port`` of loopback and passes on to ``upstream``, another one."""

    def __init__(self, port: int, upstream: int, strike: Callable[[str], Awaitable[str | None]]) -> None:
        self._port = port
        self._upstream = upstream
        self._strike = strike
        self._sockets: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen.  Raises OSError if the port cannot be had."""
        self._server = await asyncio.start_server(self._meet, "127.0.0.1", self._port, limit=_HEAD_BYTES)

    async def stop(self) -> None:
        """Listen no more and end every connection."""
        if self._server is not None:
            self._server.close()
        self.cut()

    def cut(self) -> int:
        """Cut every socket, without a closing handshake, and say how many there were."""
        cut = list(self._sockets)
        for writer in cut:
            writer.transport.abort()
        return len(cut)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(_END)
            if head.startswith(b"POST /demo/"):
                await self._press(head, writer)
            else:
                await self._pass_on(head, (reader, writer))
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            return  # the browser has left, or is none, or no gateway listens just now: it comes again
        finally:
            writer.close()

    async def _press(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        fault = head.split(b" ", 2)[1].removeprefix(b"/demo/").decode("latin-1")
        said = self._cut_all() if fault == "cut-socket" else await self._strike(fault)
        status = "404 Not Found" if said is None else "200 OK"
        body = json.dumps({"done": said}).encode()
        fields = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close"
        writer.write(f"HTTP/1.1 {status}\r\n{fields}\r\n\r\n".encode() + body)
        await writer.drain()

    def _cut_all(self) -> str:
        count = self.cut()
        return f"{count} {'socket' if count == 1 else 'sockets'} cut"

    async def _pass_on(self, head: bytes, browser: Streams) -> None:
        is_socket = b"\r\nupgrade: websocket\r\n" in head.lower()
        gateway = await asyncio.open_connection("127.0.0.1", self._upstream)
        gateway[1].write(head if is_socket else rewritten(head))
        if is_socket:
            self._sockets.add(browser[1])
        pumps = [asyncio.create_task(_pump(browser, gateway)), asyncio.create_task(_pump(gateway, browser))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._sockets.discard(browser[1])
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            gateway[1].transport.abort()


def rewritten(head: bytes) -> bytes:
    """Return a request's header block with the word that its connection ends with the answer."""
    lines = head.removesuffix(_END).split(b"\r\n")
    kept = [line for line in lines if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*kept, b"Connection: close"]) + _END


async def _pump(source: Streams, target: Streams) -> None:
    with suppress(ConnectionError):  # whoever cut it: the other direction ends with it
        while data := await source[0].read(_CHUNK):
            target[1].write(data)
            await target[1].drain()
