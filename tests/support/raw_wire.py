"""Bytes on a TCP connection: handshakes and frames that no library would send, and what comes back."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
PATIENCE = 25.0


def frame(
    payload: bytes = b"", opcode: int = TEXT, *, fin: bool = True, rsv: int = 0, masked: bool = True
) -> bytes:
    """Build one client frame (RFC 6455 section 5.2)."""
    size = len(payload)
    bit = 0x80 if masked else 0
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    if size < 126:
        head = struct.pack("!BB", first, bit | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))


def upgrade(path: str = "/v1/responses", drop: str = "", **changes: str) -> bytes:
    """Build a handshake; ``changes`` replace or add headers, ``drop`` leaves one out."""
    headers = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13",
    } | {name.replace("_", "-"): value for name, value in changes.items()}
    headers.pop(drop, None)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode()


@dataclass
class Answered:
    """What a server sent until it hung up."""

    status: int = 0
    """Of the HTTP answer; 101 if it became a socket, 0 if it hung up without one."""
    body: bytes = b""
    events: list[dict] = field(default_factory=list)
    close: int = 0
    """Close code; 0 if it hung up without one."""

    @property
    def code(self) -> str:
        """The error's code: of the last event, else of the body."""
        if self.events:
            return self.events[-1].get("error", {}).get("code", "")
        try:
            return json.loads(self.body)["error"]["code"]
        except (ValueError, KeyError, TypeError):
            return ""


async def exchange(port: int, *pieces: bytes) -> Answered:
    """Send a first piece, a second after the answer's head, a third after the first event; read to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                writer.write(pieces[0])
                await writer.drain()
            answered = await _head(reader)
            with contextlib.suppress(ConnectionError):
                writer.write(b"".join(pieces[1:2]))
                await writer.drain()
            return await _rest(reader, *answered, goodbye=lambda: writer.write(b"".join(pieces[2:])))
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _head(reader: asyncio.StreamReader) -> tuple[int, int]:
    """Return status and length of the answer; zeros if there is none."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0, 0
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    return int(lines[0].split(" ")[1]), int(headers.get("content-length", "0"))


async def _rest(
    reader: asyncio.StreamReader, status: int, length: int, goodbye: Callable[[], None]
) -> Answered:
    answered = Answered(status)
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        if status == 101:
            await _frames(reader, answered, goodbye)
        else:
            answered.body = await reader.readexactly(length)
    return answered


async def _frames(reader: asyncio.StreamReader, answered: Answered, goodbye: Callable[[], None]) -> None:
    while True:
        first, size = await reader.readexactly(2)
        if size == 126:
            (size,) = struct.unpack("!H", await reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await reader.readexactly(8))
        payload = await reader.readexactly(size)
        if first & 15 == TEXT:
            answered.events.append(json.loads(payload))
            goodbye()
        elif first & 15 == CLOSE:
            answered.close = struct.unpack("!H", payload[:2])[0] if payload else 1005
            return
