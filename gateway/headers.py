"""Headers around every HTTP answer: what clients may rely on, and which pages may read it."""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection
from email.utils import formatdate

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.answers import error_answer
from gateway.drain import Drain
from gateway.errors import Code, WireError

_API = "/v1/"
_METHODS = "GET, POST, DELETE"
_ASKED = "Authorization, Content-Type, Last-Event-ID"
_SHOWN = (
    "X-Request-Id, Retry-After, X-RateLimit-Limit-Requests, X-RateLimit-Remaining-Requests, "
    "X-RateLimit-Reset-Requests, X-RateLimit-Limit-Tokens, X-RateLimit-Remaining-Tokens, "
    "X-RateLimit-Reset-Tokens"
)
_FIELDS = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+( *, *[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")
_PREFLIGHT_SECONDS = "600"
_HSTS_SECONDS = 365 * 86_400


class Cors:
    """Lets pages of the listed origins read the API (WHATWG Fetch, CORS protocol).

    An origin is one of the list exactly, or it is told nothing.  There are no cookies here, so no answer allows
    credentials.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = Headers(scope=scope)
        if not scope["path"].startswith(_API):
            await self._app(scope, receive, send)
        elif scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await self._preflight(headers)(scope, receive, send)
        else:
            await self._app(scope, receive, self._shown(headers.get("origin"), send))

    def _shown(self, origin: str | None, send: Send) -> Send:
        async def send_shown(message: Message) -> None:
            if message["type"] == "http.response.start":
                made = MutableHeaders(scope=message)
                made.add_vary_header("Origin")
                if origin in self._origins:
                    made["Access-Control-Allow-Origin"] = str(origin)
                    made["Access-Control-Expose-Headers"] = _SHOWN
            await send(message)

        return send_shown

    def _preflight(self, asked: Headers) -> Response:
        vary = {"Vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"}
        origin = asked.get("origin")
        if origin not in self._origins:
            error = WireError(Code.ORIGIN_NOT_ALLOWED)
            return Response(error.http(), error.status, vary, media_type="application/json")
        wanted = asked.get("access-control-request-headers", "")
        allowed = {
            "Access-Control-Allow-Origin": str(origin),
            "Access-Control-Allow-Methods": _METHODS,
            # SDKs send headers of their own: whatever is asked for is allowed to those that are let in.
            "Access-Control-Allow-Headers": wanted if _FIELDS.fullmatch(wanted) else _ASKED,
            "Access-Control-Max-Age": _PREFLIGHT_SECONDS,
        }
        return Response(status_code=204, headers=vary | allowed)


def with_headers(app: ASGIApp, drain: Drain, *, https_only: bool = False) -> ASGIApp:
    """Add to every answer what clients may rely on: an id, a date, and no guessing of types.

    A request whose end two rules tell differently gets no further: what one of them takes for its body, the other takes
    for the next request, of whoever comes behind it (RFC 9112, section 6.1).
    """

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Date"] = formatdate(usegmt=True)
                headers["X-Request-Id"] = uuid.uuid4().hex
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
                if https_only:
                    headers["Strict-Transport-Security"] = f"max-age={_HSTS_SECONDS}"
                if drain.begun:
                    headers["Connection"] = "close"  # the next request had better go elsewhere
            await send(message)

        await (_AMBIGUOUS if _is_ambiguous(scope) else app)(scope, receive, send_named)

    return wrapped


def _is_ambiguous(scope: Scope) -> bool:
    return {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}


_AMBIGUOUS = error_answer(
    WireError(Code.INVALID_REQUEST, "A request has a Content-Length or comes in chunks, not both."),
    {"Connection": "close"},  # where the next request begins, nobody can say
)
