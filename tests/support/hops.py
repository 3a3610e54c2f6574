"""Small real proxies in front of a gateway, each with one fault that proxies have."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

import h11


@dataclass(frozen=True)
class Hop:
    """What a proxy does to what passes; without a fault it is as a proxy should be."""

    server: str = "testproxy/1.0"
    forwards: bool = True
    """It says whom it asks for."""
    drops: tuple[str, ...] = ()
    """Request headers that it loses."""
    host: str | None = None
    """What it makes of Host."""
    upgrades: bool = True
    holds: float = 0.0
    """It keeps what the gateway sends until nothing came for so long."""
    idle: float | None = None
    """It cuts what was silent for so long."""
    packs: bool = False
    """It compresses event streams."""
    deflates: bool = False
    """It answers a socket's offer of compression as if it would."""


@contextlib.asynccontextmanager
async def in_front(port: int, hop: Hop) -> AsyncIterator[str]:
    """Run a proxy to a port of loopback; yield its address."""
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError, ValueError):
            await _pass_on(reader, writer, port, hop)
        writer.close()
        connections.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()


async def _pass_on(
    client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter, port: int, hop: Hop
) -> None:
    head = await client_in.readuntil(b"\r\n\r\n")
    if b"permessage-deflate" not in head:
        hop = replace(hop, deflates=False)
    peer = client_out.get_extra_info("peername")[0]
    gateway_in, gateway_out = await asyncio.open_connection("127.0.0.1", port)
    gateway_out.write(_edited(head, hop, peer))
    clock = _Clock()
    answers = _packed if hop.packs and b"upgrade: websocket" not in head.lower() else _held
    flows = [
        asyncio.create_task(_copied(client_in, gateway_out, clock.tick)),
        asyncio.create_task(answers(gateway_in, client_out, hop, clock.tick)),
    ]
    if hop.idle is not None:
        flows.append(asyncio.create_task(clock.silent(hop.idle)))
    try:
        await asyncio.wait(flows[1:], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for flow in flows:
            flow.cancel()
        await asyncio.gather(*flows, return_exceptions=True)
        gateway_out.close()


class _Clock:
    def __init__(self) -> None:
        self._moved = asyncio.Event()

    def tick(self) -> None:
        self._moved.set()

    async def silent(self, seconds: float) -> None:
        """Return once nothing has passed for so long."""
        with contextlib.suppress(TimeoutError):
            while True:
                self._moved.clear()
                async with asyncio.timeout(seconds):
                    await self._moved.wait()


def _edited(head: bytes, hop: Hop, peer: str) -> bytes:
    first, *lines = head[:-4].split(b"\r\n")
    dropped = {name.encode() for name in hop.drops}
    if not hop.upgrades:
        dropped |= {b"upgrade", b"connection"}
    kept = [line for line in lines if line.partition(b":")[0].lower() not in dropped]
    if hop.host is not None:
        kept = [f"Host: {hop.host}".encode() if line.lower().startswith(b"host:") else line for line in kept]
    if hop.forwards:
        kept += [f"X-Forwarded-For: {peer}".encode(), b"X-Forwarded-Proto: http"]
    return b"\r\n".join([first, *kept]) + b"\r\n\r\n"


async def _copied(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tick: Callable[[], None]
) -> None:
    while data := await reader.read(65536):
        tick()
        writer.write(data)
        await writer.drain()


async def _held(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hop: Hop, tick: Callable[[], None]
) -> None:
    """Copy, naming itself, and holding back what it has to."""
    named = False
    waiting = b""
    while True:
        try:
            async with asyncio.timeout(hop.holds or None):
                data = await reader.read(65536)
        except TimeoutError:
            writer.write(waiting)
            waiting = b""
            continue
        if not data:
            break
        tick()
        if not named:
            data = data.replace(b"\r\n", f"\r\nServer: {hop.server}\r\n".encode(), 1)
            if hop.deflates and b" 101 " in data[:20]:
                data = data.replace(b"\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n", 1)
            named = True
        waiting += data
        if not hop.holds:
            writer.write(waiting)
            await writer.drain()
            waiting = b""
    writer.write(waiting)
    await writer.drain()


async def _packed(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hop: Hop, tick: Callable[[], None]
) -> None:
    """Copy an answer, compressed as gzip if it is an event stream."""
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    parser.send(h11.EndOfMessage())
    packer = zlib.compressobj(wbits=31)
    packs = False
    while True:
        event = parser.next_event()
        if event is h11.NEED_DATA:
            parser.receive_data(await reader.read(65536))
            tick()
        elif isinstance(event, h11.Response):
            packs = any(name == b"content-type" and b"event-stream" in value for name, value in event.headers)
            kept = [
                (name, value)
                for name, value in event.headers
                if name not in (b"transfer-encoding", b"content-length", b"connection")
            ]
            kept += [(b"connection", b"close"), (b"server", hop.server.encode())]
            kept += [(b"content-encoding", b"gzip")] if packs else []
            lines = [b"HTTP/1.1 %d OK" % event.status_code, *(name + b": " + value for name, value in kept)]
            writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
        elif isinstance(event, h11.Data):
            data = bytes(event.data)
            writer.write(packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH) if packs else data)
        else:
            writer.write(packer.flush() if packs else b"")
            await writer.drain()
            return
