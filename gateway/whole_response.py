"""The answer of the HTTP door to who waits for the ending of a response: one object, or why there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.answers import error_answer
from gateway.attachment import Detach
from gateway.drain import Drain
from gateway.errors import Code, WireError
from gateway.render import Event
from gateway.requests import until_gone
from shared.request import Request

Shape = Callable[[bytes], bytes | WireError]
"""From an ended response object to the body of the answer, or to why there is none."""


class Collector:
    """Waits for the ending of a response and keeps its response object."""

    def __init__(self) -> None:
        self._done = asyncio.Event()
        self.response: bytes | None = None
        self.error: WireError | None = None

    def joined(self, request: Request) -> None:
        """Let it pass."""

    def delta(self, epoch: int, number: int, text: bytes) -> None:
        """Let it pass: the ending has the whole text."""

    def replay(self, epoch: int, first: int, texts: Sequence[bytes]) -> None:
        """Let them pass too."""

    def events(self, events: Sequence[Event]) -> None:
        """Keep the object of the last event that has one."""
        for event in events:
            held = msgspec.json.decode(event.payload, type=_WithResponse)
            if held.response:
                self.response = bytes(held.response)

    def ended(self) -> None:
        """Learn that the ending was delivered."""
        self._done.set()

    def failed(self, error: WireError) -> None:
        """Learn that there is none."""
        self.error = error
        self._done.set()

    async def wait(self) -> None:
        """Return when it is over."""
        await self._done.wait()


class _WithResponse(msgspec.Struct):
    response: msgspec.Raw = msgspec.Raw(b"")


class WholeResponse(Response):
    """Sends the response object when the response has ended, unless the client has left before."""

    media_type = "application/json"

    def __init__(
        self, collector: Collector, detach: Detach, drain: Drain, *, keyed: bool, shape: Shape
    ) -> None:
        super().__init__()
        self._collector = collector
        self._shape = shape
        self._detach = detach
        self._drain = drain
        self._keyed = keyed
        """An idempotency key leads the client back to the response; its id it does not know."""
        self._drained = False

    @property
    def stays(self) -> bool:
        """Whether its client could not go on elsewhere."""
        return not self._keyed

    def drain(self) -> None:
        """Answer that the client should ask again, elsewhere."""
        self._drained = True
        self._collector.failed(WireError(Code.SERVER_DRAINING, retry_after=1))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        ending = asyncio.ensure_future(self._collector.wait())
        gone = asyncio.ensure_future(until_gone(receive, ending.cancel))
        self._drain.add(self)
        try:
            await asyncio.wait([ending])
        finally:
            gone.cancel()
            self._drain.discard(self)
            self._detach(not (self._drained and self._keyed))
        if not ending.cancelled():
            answer = self._answer()
            for name, value in self.headers.items():
                answer.headers.setdefault(name, value)  # what was known before the ending: the rates
            await answer(scope, receive, send)

    def _answer(self) -> Response:
        error, response = self._collector.error, self._collector.response
        if error is not None or response is None:
            return error_answer(error or WireError(Code.SERVER_ERROR))
        body = self._shape(response)
        if isinstance(body, WireError):
            return error_answer(body)
        return Response(body, media_type="application/json")
