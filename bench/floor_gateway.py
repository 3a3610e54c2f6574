"""What a relay costs at the least: reads the same bytes from the store, writes frames of the same length, no more.

It looks at no message, numbers nothing and bounds nothing: each message read becomes a constant frame on the next
socket in turn.  So this is the price of the kernel and of the event loop, which no gateway in Python on this machine
can save.  It serves as a peer of the relay benchmark only: `python -m bench.floor_gateway` with REDIS_URL and PORT.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import hiredis
import uvloop
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Frame, Opcode

from gateway.render import DeltaFrame
from shared.store import keys

_SAMPLE = (1000, b"handful ")
"""Number and text of a delta as the benchmark's worker makes them."""


class _Source(asyncio.Protocol):
    """The connection to the store."""

    def __init__(self) -> None:
        self._sockets: list[tuple[asyncio.Transport, bytes]] = []
        self._turn: Iterator[tuple[asyncio.Transport, bytes]] = iter(())

    def add(self, transport: asyncio.Transport, frame: bytes) -> None:
        """Take one more socket into the turn, with what it is sent."""
        self._sockets.append((transport, frame))
        self._turn = itertools.cycle(self._sockets)

    def data_received(self, data: bytes) -> None:
        """Write as many frames as there are messages; one whose name two reads share is left out."""
        for transport, frame in itertools.islice(self._turn, data.count(b"smessage")):
            transport.write(frame)


async def main() -> None:
    """Serve until killed."""
    path = os.environ["REDIS_URL"].removeprefix("unix://")
    store, source = await asyncio.get_running_loop().create_unix_connection(_Source, path)

    async def relay(socket: ServerConnection) -> None:
        query = parse_qs(urlsplit(socket.request.path).query) if socket.request else {}
        response_id = query["response_id"][0]
        store.write(hiredis.pack_command(("SSUBSCRIBE", keys.channel(response_id))))  # type: ignore[arg-type] # its stub says a tuple of one
        payload = DeltaFrame(response_id, time.time_ns() // 1_000_000).one(*_SAMPLE)
        source.add(socket.transport, Frame(Opcode.TEXT, payload).serialize(mask=False))
        await socket.wait_closed()

    async with serve(relay, "127.0.0.1", int(os.environ["PORT"]), compression=None):
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    uvloop.run(main())
