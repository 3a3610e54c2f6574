"""The handshake of a WebSocket: which header block asks for one, and what it is answered."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from gateway.errors import library_refusal
from gateway.plain import SOCKET_PATH

SUBPROTOCOL = Subprotocol("tokenwire.v1")

_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:")
"""How a header line begins (RFC 9110 section 5.1)."""


def wants_socket(head: bytes) -> bool:
    """Say whether a header block asks for the WebSocket; ``head`` ends before its blank line."""
    first, *lines = head.split(b"\r\n")
    method, _, rest = first.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    if method != b"GET" or path != SOCKET_PATH.encode():
        return False
    if not all(map(_FIELD.match, lines)):
        return False  # the HTTP side answers what it cannot read; the other one just hangs up
    names = (line.partition(b":") for line in lines)
    return any(
        name.strip().lower() == b"upgrade" and value.strip().lower() == b"websocket"
        for name, _, value in names
    )


def choose_subprotocol(_: ServerConnection, offered: object) -> Subprotocol | None:
    """Take ours if it is offered; other ones are no reason to refuse."""
    return SUBPROTOCOL if isinstance(offered, list | tuple) and SUBPROTOCOL in offered else None


def name_connection(connection: ServerConnection, _: Request, response: Response) -> None:
    """Give the connection's id to the client, for talking about it."""
    response.headers["x-request-id"] = str(connection.id)


def answer(status: int, reason: str, body: bytes, headers: dict[str, str] | None = None) -> Response:
    """Make the HTTP answer that refuses a handshake."""
    made = Headers(headers or {})
    made["Content-Type"] = "application/json"
    made["Content-Length"] = str(len(body))
    made["Connection"] = "close"
    return Response(status, reason, made, body)


def reject(plain: Callable[[Any, str], Response], status: Any, text: str) -> Response:
    """Refuse a handshake that the library cannot take, with the body that all our refusals have.

    ``plain`` is the library's own refusal, a plain text.
    """
    said = plain(status, text)
    body = library_refusal(said.status_code, text.partition("\n")[0])
    return answer(said.status_code, said.reason_phrase, body, {"Sec-WebSocket-Version": "13"})
