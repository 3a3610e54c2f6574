"""A client of one WebSocket with as little ado as can be, so that a thousand of them do not measure themselves."""

from __future__ import annotations

import asyncio
import time
from typing import cast

from bench.stamped import ages

QUESTION = b'{"type":"response.create","model":"echo","input":"x","max_output_tokens":4000}'
_HANDSHAKE = (
    b"GET /v1/responses HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"  # RFC 6455 section 1.3
)
_SETTLED = 20
"""Tokens of a stream that are not counted: connections, caches and allocators have met it by then."""


class Client(asyncio.Protocol):
    """One socket, and the ages of the tokens that came by it."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.ages: list[int] = []
        """In nanoseconds, from the end of a token's step."""
        self.opened: asyncio.Future[None] = loop.create_future()
        self.settled: asyncio.Future[None] = loop.create_future()
        """The stream has come into its stride."""
        self._transport: asyncio.Transport | None = None

    @property
    def transport(self) -> asyncio.Transport:
        """The connection.  Raises RuntimeError before there is one."""
        if self._transport is None:
            raise RuntimeError("there is no connection yet")
        return self._transport

    def ask(self) -> None:
        """Send the question as a text frame, masked with zeros."""
        self.transport.write(b"\x81%c\x00\x00\x00\x00%b" % (0x80 | len(QUESTION), QUESTION))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the socket."""
        self._transport = cast("asyncio.Transport", transport)  # a stream protocol is given one
        self._transport.write(_HANDSHAKE)

    def data_received(self, data: bytes) -> None:
        """Note how old the tokens are; one that two reads share is left out."""
        self.ages += ages(data, time.monotonic_ns())
        if not self.opened.done():
            self._judge(data)
        if len(self.ages) >= _SETTLED:
            _told(self.settled, None)

    def _judge(self, answer: bytes) -> None:
        if answer.startswith(b"HTTP/1.1 101"):
            _told(self.opened, None)
        else:
            _told(self.opened, ConnectionError(answer[:200].decode(errors="replace")))
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what waits."""
        for future in (self.opened, self.settled):
            _told(future, exc or ConnectionError("the server closed the socket"))


def _told(future: asyncio.Future[None], problem: Exception | None) -> None:
    if future.done():
        return
    if problem is None:
        future.set_result(None)
    else:
        future.set_exception(problem)
        future.exception()  # it is seen by who waits, and nobody need wait


async def opened(port: int, count: int) -> list[Client]:
    """Open sockets, one after the other.  Raises OSError if one is refused."""
    loop = asyncio.get_running_loop()
    clients = []
    for _ in range(count):
        _, client = await loop.create_connection(Client, "127.0.0.1", port)
        await client.opened
        clients.append(client)
    return clients


async def streaming(clients: list[Client]) -> None:
    """Ask on all sockets and wait until all answers are in their stride."""
    for client in clients:
        client.ask()
    await asyncio.gather(*(client.settled for client in clients))
