"""HTTP answers that are ready at once, and what answers where no handler does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from gateway.errors import Code, WireError

Handler = Callable[[Request], Awaitable[Response]]


class AnyMethod:
    """An endpoint that is asked whatever the method is."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        answer = await self._handler(Request(scope, receive, send))
        await answer(scope, receive, send)


def json_answer(value: object, status: int = 200) -> Response:
    """Answer with JSON."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def document(body: bytes) -> Handler:
    """Return a handler that shows one document to anybody."""

    async def shown(_: Request) -> Response:
        return Response(body, media_type="application/json")

    return shown


def methods_of(request: Request) -> set[str]:
    """Return the methods that the request's path takes, if it is one of ours."""
    there = (
        route
        for route in request.app.routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is Match.PARTIAL
    )
    return {method for route in there for method in route.methods or ()}


def error_answer(error: WireError, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with an error and what goes with it."""
    headers = {**error.headers, **(headers or {})}
    response = Response(error.http(), error.status, headers, media_type="application/json")
    if error.code in (Code.MESSAGE_TOO_LARGE, Code.REQUEST_TIMEOUT):
        response.headers["Connection"] = "close"  # the rest of the body is not read
    if error.code is Code.UPGRADE_REQUIRED:
        response.headers["Upgrade"] = "websocket"
    return response


async def failed(_: Request, failure: Exception) -> Response:
    """Answer what the routing could not."""
    status = failure.status_code if isinstance(failure, HTTPException) else 500
    code = {404: Code.NOT_FOUND, 405: Code.METHOD_NOT_ALLOWED}.get(status, Code.INVALID_REQUEST)
    return Response(WireError(code).http(), status, media_type="application/json")


async def broken(_: Request, __: Exception) -> Response:
    """Answer what nobody has foreseen."""
    return error_answer(WireError(Code.SERVER_ERROR))


async def nobody_there(_: Request, __: Exception) -> Response:
    """Answer a client that has left in the midst of its request."""
    return Response(status_code=400)  # nobody reads it
