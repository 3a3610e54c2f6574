"""What an HTTP request holds: its body, who sent it, what it names, and when its sender has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.requests import Request
from starlette.types import Receive

from gateway.errors import Code, RefusedError, WireError
from gateway.principal import Principal
from gateway.wire import is_response_id

BODY_BYTES = 256 * 1024
BODY_SECONDS = 10.0


async def body_of(request: Request) -> bytes:
    """Read a body, bounded in bytes and in time; a compressed one is refused, for its bytes are no bound."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        sentence = "Send the body as it is: compressed ones are not read."
        raise RefusedError(WireError(Code.INVALID_REQUEST, sentence, "Content-Encoding"))
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > BODY_BYTES:
                    raise RefusedError(WireError(Code.MESSAGE_TOO_LARGE))
    except TimeoutError:
        raise RefusedError(WireError(Code.REQUEST_TIMEOUT)) from None
    return bytes(body)


def principal_of(request: Request) -> Principal:
    """Return who asks; every handler is guarded, so somebody was let in."""
    principal: Principal = request.state.principal
    return principal


def response_id_of(request: Request) -> str:
    """Return the response that the path names."""
    response_id: str = request.path_params["response_id"]
    if not is_response_id(response_id):
        raise RefusedError(WireError(Code.RESPONSE_NOT_FOUND, param="response_id"))
    return response_id


def last_event_of(request: Request) -> int | None:
    """Return the number of the last event that a reconnecting client has, as it says in a header."""
    said = request.headers.get("last-event-id")
    if said is None:
        return None
    if said != "-1" and not (said.isdecimal() and len(said) <= 15):
        raise RefusedError(WireError(Code.INVALID_REQUEST, "Last-Event-ID is a number.", "Last-Event-ID"))
    return int(said)


async def until_gone(receive: Receive, then: Callable[[], object]) -> None:
    """Call ``then`` when the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass
    then()
