"""A paced stream that says what arrived and when it was sent, for `tokenwire doctor`: the way is judged by it.

It asks nothing of the store or of any model, so what is late, joined, packed or missing at the other end was made
so on the way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.requests import until_gone
from gateway.streams import EventStream

SHOWN = (
    *("host", "origin", "user-agent", "accept-encoding", "connection", "via", "forwarded"),
    *("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip", "x-request-id", "traceparent"),
)
"""Headers that are said again to whoever sent them; never a credential."""


class Diagnosis(msgspec.Struct, frozen=True):
    """Query of ``GET /v1/diagnostics``."""

    events: Annotated[int, Meta(ge=1, le=20)] = 10
    interval_ms: Annotated[int, Meta(ge=1, le=250)] = 100


class PacedStream(Response):
    """Sends what arrived, then events at a set pace, each with the time at which it was sent."""

    media_type = "text/event-stream"

    def __init__(self, request: Request, diagnosis: Diagnosis, clock: Callable[[], float]) -> None:
        super().__init__(headers=EventStream.HEADERS)
        del self.headers["content-length"]
        self._arrived = arrived(request)
        self._diagnosis = diagnosis
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        del scope
        pacing = asyncio.ensure_future(self._pace(send))
        gone = asyncio.ensure_future(until_gone(receive, pacing.cancel))
        try:
            await asyncio.wait([pacing])
            if not pacing.cancelled():
                pacing.result()
        finally:
            gone.cancel()
            pacing.cancel()

    async def _pace(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        began = self._clock()
        await self._send(send, {"type": "arrived", "at": 0.0, **self._arrived})
        for number in range(1, self._diagnosis.events + 1):
            due = began + number * self._diagnosis.interval_ms / 1000
            await asyncio.sleep(max(0.0, due - self._clock()))
            await self._send(send, {"type": "paced", "number": number, "at": self._clock() - began})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    @staticmethod
    async def _send(send: Send, datum: dict[str, object]) -> None:
        body = b"data: %b\n\n" % msgspec.json.encode(datum)
        await send({"type": "http.response.body", "body": body, "more_body": True})


def arrived(request: Request) -> dict[str, object]:
    """Return the headers that may be shown, and the other end of the connection."""
    client = request.client
    return {
        "headers": {name: request.headers[name] for name in SHOWN if name in request.headers},
        "peer": f"{client.host}:{client.port}" if client is not None else "",
    }
