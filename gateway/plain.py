"""The HTTP side of a connection that came through the door, and how the door hangs up in HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.errors import WireError, library_refusal

SOCKET_PATH = "/v1/responses"

HEAD_SECONDS = 10.0
"""How long a header block may take."""


OnSocket = Callable[[asyncio.Transport, bytes], None]
"""Takes a connection over, with the bytes of a request for the WebSocket and whatever came behind them."""


class HttpConnection(H11Protocol):
    """uvicorn's protocol, with a bound on the time a later header block may take."""

    _deadline: asyncio.TimerHandle | None = None

    def __init__(self, *arguments: Any, on_socket: OnSocket) -> None:
        """``on_socket`` takes the connection back if a later request on it asks for the WebSocket."""
        super().__init__(*arguments)
        self._on_socket = on_socket

    def data_received(self, data: bytes) -> None:
        """Pass bytes on; a header block that has begun must end in time."""
        super().data_received(data)
        waits = self.conn.their_state is h11.IDLE and not self.transport.is_closing()
        if waits and self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.abort)
        elif not waits:
            self._clear()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, unless an answer is under way already."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            hang_up(self.transport, 400, "Bad Request", msg)
        else:
            self.transport.close()

    def _should_upgrade(self) -> bool:
        """Say whether a request asks for the WebSocket: Node and proxies take an idle connection for one."""
        asks = self._get_upgrade() == b"websocket" and self.scope["method"] == "GET"
        return asks and self.scope["raw_path"] == SOCKET_PATH.encode() and not self.flow.write_paused

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Give the connection away; our own loop over events ends with it."""
        lines = [b"GET %b HTTP/1.1" % event.target, *(b"%b: %b" % header for header in event.headers)]
        behind, _ = self.conn.trailing_data
        self.connections.discard(self)
        self._clear()
        self._on_socket(self.transport, b"\r\n".join([*lines, b"", behind]))

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing of upgrades on other paths: uvicorn would ask for a library that must not be there."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Learn that the connection is gone."""
        self._clear()
        super().connection_lost(exc)

    def _clear(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def hang_up(transport: asyncio.Transport, status: int, phrase: str, sentence: str) -> None:
    """Write a refusal in a library's words and close."""
    _write(transport, status, phrase, library_refusal(status, sentence))


def turn_away(transport: asyncio.Transport, error: WireError) -> None:
    """Write a refusal of ours and close."""
    phrase = HTTPStatus(error.status).phrase
    retry = "" if error.retry_after is None else f"Retry-After: {error.retry_after}\r\n"
    _write(transport, error.status, phrase, error.http(), retry)


def _write(transport: asyncio.Transport, status: int, phrase: str, body: bytes, more: str = "") -> None:
    head = (
        f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{more}Connection: close\r\n\r\n"
    )
    transport.write(head.encode() + body)
    transport.close()
