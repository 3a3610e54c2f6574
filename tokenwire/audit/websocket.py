"""A lean WebSocket client: an asyncio protocol that hands on text frames and can stop reading (RFC 6455).

A thousand of them in one process leave the processor to what is audited; a library's client costs several
times as much per frame and reads ahead of a reader that means to be slow.
"""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

_TEXT, _CLOSE, _PONG = 0x1, 0x8, 0xA
_FINAL = 0x80
_MASKED = 0x80
NO_CODE = 1006
"""What a connection that just ended counts as (RFC 6455 section 7.4.1)."""
_KERNEL_BYTES = 4 * 1024
"""Receive buffer of a slow reader: what the kernel takes in hides that nobody reads."""
_OPEN_SECONDS = 5.0


class RefusedHandshake(Exception):
    """The server answered the handshake with an HTTP status."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.headers = headers
        self.body = body


@dataclass(frozen=True, slots=True)
class Address:
    """Where a gateway is."""

    host: str
    port: int
    tls: bool
    path: str
    key: str

    @classmethod
    def of(cls, url: str, key: str) -> Address:
        """Read an ``http`` or ``https`` URL."""
        parts = urlsplit(url)
        tls = parts.scheme in ("https", "wss")
        path = f"{parts.path.rstrip('/')}/v1/responses"
        return cls(parts.hostname or "127.0.0.1", parts.port or (443 if tls else 80), tls, path, key)


class Socket(asyncio.Protocol):
    """One connection; ``on_text`` is called with each frame, ``on_end`` at the end."""

    def __init__(self, handshake: bytes, on_text: Callable[[bytes], None]) -> None:
        self.code = NO_CODE
        """Close code that the server sent."""
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()
        self.on_end: Callable[[], None] | None = None
        self._handshake = handshake
        self._on_text = on_text
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._parts: list[bytes] = []

    # ---- called by the client ----

    def send(self, text: bytes) -> bool:
        """Send one text frame; False if the connection is gone."""
        return self._send_frame(_TEXT, text)

    def close(self) -> None:
        """Say goodbye in order, and let the server end the connection."""
        self._send_frame(_CLOSE, (1000).to_bytes(2, "big"))

    def abort(self) -> None:
        """Drop the connection, as a reload or a lost network does."""
        if self._transport is not None:
            self._transport.abort()

    def read_on(self, reading: bool) -> None:
        """Stop taking bytes, or go on."""
        if self._transport is None or self._transport.is_closing():
            return
        if reading:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    # ---- called by the loop ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self._transport = cast("asyncio.Transport", transport)  # a stream protocol is given a Transport
        self._transport.write(self._handshake)

    def data_received(self, data: bytes) -> None:
        """Take bytes off the wire."""
        self._buffer += data
        if not self.opened.done() and not self._open():
            return
        while self._take_frame():
            pass

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that it is over."""
        if not self.opened.done():
            self.opened.set_exception(exc or ConnectionResetError("the handshake was cut"))
        self.ended.set()
        if self.on_end is not None:
            self.on_end()

    # ---- frames ----

    def _open(self) -> bool:
        """Read the answer to the handshake; True if frames follow."""
        head, end, body = bytes(self._buffer).partition(b"\r\n\r\n")
        if not end:
            return False
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }
        status = int(first.split(" ")[1])
        if status != 101:
            if len(body) < int(headers.get("content-length", "0")):
                return False
            self.opened.set_exception(RefusedHandshake(status, headers, body))
            self.abort()
            return False
        self._buffer = bytearray(body)
        self.opened.set_result(None)
        return True

    def _take_frame(self) -> bool:
        buffer = self._buffer
        if len(buffer) < 2:
            return False
        size, begin = buffer[1] & 0x7F, 2
        if size >= 126:
            begin = 4 if size == 126 else 10
            if len(buffer) < begin:
                return False
            size = int.from_bytes(buffer[2:begin], "big")
        if len(buffer) < begin + size:
            return False
        head, payload = buffer[0], bytes(buffer[begin : begin + size])
        del buffer[: begin + size]
        self._obey(head, payload)
        return True

    def _obey(self, head: int, payload: bytes) -> None:
        match head & 0x0F:
            case 0x1 | 0x0:  # text, or a part of one
                self._parts.append(payload)
                if head & _FINAL:
                    whole, self._parts = b"".join(self._parts), []
                    self._on_text(whole)
            case 0x8:  # close
                self.code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
                self._send_frame(_CLOSE, payload[:2])
            case 0x9:  # ping
                self._send_frame(_PONG, payload)
            case _:
                pass  # a pong: nobody asked

    def _send_frame(self, opcode: int, payload: bytes) -> bool:
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        mask = os.urandom(4)
        size = len(payload)
        if size < 126:
            head = bytes((_FINAL | opcode, _MASKED | size))
        else:
            head = bytes((_FINAL | opcode, _MASKED | 126)) + size.to_bytes(2, "big")
        masked = bytes(byte ^ mask[n & 3] for n, byte in enumerate(payload))
        transport.write(head + mask + masked)
        return True


async def dial(
    address: Address, query: str, on_text: Callable[[bytes], None], *, slow: bool = False
) -> Socket:
    """Open a socket.

    Raises OSError or TimeoutError if nothing answers, RefusedHandshake if the server says no.
    """
    loop = asyncio.get_running_loop()
    handshake = _handshake(address, query)
    raw = await _connect(address, slow=slow)
    tls = ssl.create_default_context() if address.tls else None
    async with asyncio.timeout(_OPEN_SECONDS):
        _, made = await loop.create_connection(
            lambda: Socket(handshake, on_text),
            sock=raw,
            ssl=tls,
            server_hostname=address.host if tls else None,
        )
        try:
            await made.opened
        except BaseException:
            made.abort()
            raise
    return made


async def _connect(address: Address, *, slow: bool) -> socket.socket:
    """Connect; the receive buffer can only be bounded before that."""
    loop = asyncio.get_running_loop()
    family, kind, protocol, _, place = (
        await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    )[0]
    raw = socket.socket(family, kind, protocol)
    raw.setblocking(False)
    if slow:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL_BYTES)
    try:
        async with asyncio.timeout(_OPEN_SECONDS):
            await loop.sock_connect(raw, place)
    except BaseException:
        raw.close()
        raise
    return raw


def _handshake(address: Address, query: str) -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    lines = (
        f"GET {address.path}{'?' if query else ''}{query} HTTP/1.1",
        f"Host: {address.host}:{address.port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        f"Authorization: Bearer {address.key}",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
