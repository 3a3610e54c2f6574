"""Answers of the HTTP door that last as long as a response: server-sent events, or one object at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.errors import WireError
from gateway.metrics import Metrics
from gateway.outbox import LIMIT, PATIENCE, Outbox
from gateway.render import DELTA, DeltaFrame, Event

_CHUNK = 16 * 1024
_REPLAY_CEILING = 16 * 1024 * 1024
"""Bytes that an unmerged replay may have waiting: a whole log, an event per delta."""


def sse(kind: str, number: int, payload: bytes) -> bytes:
    """Frame one event (WHATWG HTML, server-sent events); the id is the cursor of a reconnect."""
    return b"event: %b\nid: %d\ndata: %b\n\n" % (kind.encode(), number, payload)


class SseFrame(DeltaFrame):
    """A delta's constant bytes, as a server-sent event."""

    __slots__ = ()

    def one(self, number: int, text: bytes) -> bytes:
        """Render one delta."""
        return sse(DELTA, number, super().one(number, text))

    def merged(self, first: int, last: int, text: bytes) -> bytes:
        """Render several deltas as one event."""
        return self.one(last, text) if first == last else sse(DELTA, last, super().merged(first, last, text))


class StreamReader:
    """Keeps what the hub delivers until the client takes it."""

    def __init__(self, response_id: str, clock: Callable[[], float], *, merge: bool) -> None:
        self._response_id = response_id
        self._clock = clock
        self._outbox = Outbox(LIMIT) if merge else Outbox(None, _REPLAY_CEILING)
        self._epoch = 0
        self._frame = SseFrame(response_id, 0)
        self._news = asyncio.Event()
        self._over = False
        self.too_slow = False

    def delta(self, epoch: int, number: int, text: bytes) -> None:
        """Keep one delta."""
        if epoch != self._epoch:
            self._epoch, self._frame = epoch, SseFrame(self._response_id, epoch)
        self._outbox.delta(self, self._frame, number, text, self._clock())
        self._changed()

    def events(self, events: Sequence[Event]) -> None:
        """Keep other events."""
        for event in events:
            self._outbox.frame(self, sse(event.type, event.number, event.payload), self._clock())
        self._changed()

    def ended(self) -> None:
        """Learn that nothing more comes."""
        self._over = True
        self._news.set()

    def failed(self, error: WireError) -> None:
        """Keep the error as the last event."""
        self._outbox.frame(self, b"event: error\ndata: %b\n\n" % error.datum(), self._clock())
        self.ended()

    async def take(self) -> bytes | None:
        """Wait for bytes and return them; None after the last."""
        while not self._outbox and not self._over:
            self._news.clear()
            await self._news.wait()
        frames: list[bytes] = []
        size = 0
        while size < _CHUNK and (frame := self._outbox.take(self._clock())) is not None:
            frames.append(frame)
            size += len(frame)
        return b"".join(frames) or None

    def _changed(self) -> None:
        if self._outbox.stuck(self._clock()):
            self.too_slow = True
            self._over = True
        self._news.set()


class Collector:
    """Waits for the ending of a response and keeps its response object."""

    def __init__(self) -> None:
        self._done = asyncio.Event()
        self.response: bytes | None = None
        self.error: WireError | None = None

    def delta(self, epoch: int, number: int, text: bytes) -> None:
        """Let it pass: the ending has the whole text."""

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


class EventStream(Response):
    """Sends what a reader keeps; ``close`` is called when the client or the response is gone."""

    media_type = "text/event-stream"

    def __init__(self, reader: StreamReader, close: Callable[[], None], metrics: Metrics) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._reader = reader
        self._close = close
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        del scope
        gone = asyncio.ensure_future(_until_gone(receive, self._reader.ended))
        self._metrics.streams.inc()
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if await self._send_all(send) and not gone.done():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()
            self._metrics.streams.dec()
            self._close()

    async def _send_all(self, send: Send) -> bool:
        """Send to the end; False if the client was cut because it took too little."""
        while (chunk := await self._reader.take()) is not None:
            try:
                async with asyncio.timeout(PATIENCE):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except TimeoutError:
                self._reader.too_slow = True
            if self._reader.too_slow:
                self._metrics.slow_closes.inc()
                return False
        return True


class WholeResponse(Response):
    """Sends the response object when the response has ended, unless the client has left before."""

    media_type = "application/json"

    def __init__(self, collector: Collector, close: Callable[[], None]) -> None:
        super().__init__()
        self._collector = collector
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        ending = asyncio.ensure_future(self._collector.wait())
        gone = asyncio.ensure_future(_until_gone(receive, ending.cancel))
        try:
            await asyncio.wait([ending])
        finally:
            gone.cancel()
            self._close()
        if not ending.cancelled():
            await self._answer()(scope, receive, send)

    def _answer(self) -> Response:
        error = self._collector.error
        if error is not None:
            return Response(error.http(), error.status, media_type="application/json")
        return Response(self._collector.response, media_type="application/json")


async def _until_gone(receive: Receive, then: Callable[[], object]) -> None:
    """Call ``then`` when the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass
    then()
