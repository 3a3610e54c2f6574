"""Answers of the HTTP door that last as long as a response: server-sent events, or one object at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.drain import Drain
from gateway.errors import Code, WireError
from gateway.metrics import Metrics
from gateway.outbox import LIMIT, PATIENCE, Outbox
from gateway.render import DELTA, DeltaFrame, Event, is_scored, joined
from shared.request import Request

QUIET_SECONDS = 15.0
"""A stream that has nothing to say for so long says that it is alive."""

_COMMENT = b": alive\n\n"
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


class Dialect(Protocol):
    """How a stream spells what it is told."""

    @property
    def resumable(self) -> bool:
        """Whether a client can go on after the last event it has."""

    def frame(self, epoch: int, *, scored: bool) -> DeltaFrame:
        """Return the constant bytes around the deltas of an epoch; ``scored`` ones carry logprobs."""

    def events(self, events: Sequence[Event]) -> Iterable[bytes]:
        """Spell events that are no deltas."""

    def error(self, error: WireError) -> bytes:
        """Spell what ends a stream that has no ending."""


class Events:
    """The events as they are, each with its number as its id."""

    resumable = True

    def __init__(self, response_id: str) -> None:
        self._response_id = response_id

    def frame(self, epoch: int, *, scored: bool) -> DeltaFrame:
        """Return the constant bytes around the deltas of an epoch; ``scored`` ones carry logprobs."""
        return SseFrame(self._response_id, epoch, scored=scored)

    @staticmethod
    def events(events: Sequence[Event]) -> Iterator[bytes]:
        """Spell events that are no deltas."""
        return (sse(event.type, event.number, event.payload) for event in events)

    @staticmethod
    def error(error: WireError) -> bytes:
        """Spell the error as the last event."""
        return b"event: error\ndata: %b\n\n" % error.datum()


class StreamReader:
    """Keeps what the hub delivers until the client takes it."""

    def __init__(
        self, dialect: Dialect, clock: Callable[[], float], metrics: Metrics, *, merge: bool
    ) -> None:
        self._dialect = dialect
        self._clock = clock
        self._metrics = metrics
        self._merge = merge
        self._outbox = Outbox(LIMIT) if merge else Outbox(None, _REPLAY_CEILING)
        self._shown = 0
        """Of the bytes that wait, those that the metrics tell of."""
        self._epoch = -1
        self._frame: DeltaFrame | None = None
        self._news = asyncio.Event()
        self._over = self._begun = self._cut = False
        self._scored = False
        self.too_slow = False

    @property
    def cut(self) -> bool:
        """Whether we ended it before its end."""
        return self.too_slow or self._cut

    @property
    def resumable(self) -> bool:
        """Whether the client can go on after the last event it has."""
        return self._dialect.resumable

    @property
    def may_come_back(self) -> bool:
        """Whether we ended it before its end and the client can go on after the last event it has."""
        return self.cut and self.resumable

    def joined(self, request: Request) -> None:
        """Note how deltas are to be framed."""
        self._scored = is_scored(request)

    def delta(self, epoch: int, number: int, text: bytes) -> None:
        """Keep one delta."""
        self._delta(epoch, number, number, text)
        self._changed()

    def replay(self, epoch: int, first: int, texts: Sequence[bytes]) -> None:
        """Keep deltas of the log, joined if that is allowed."""
        if self._merge:
            for begin, end, text in joined(first, texts):
                self._delta(epoch, begin, end, text)
        else:
            for number, text in enumerate(texts, first):
                self._delta(epoch, number, number, text)
        self._changed()

    def events(self, events: Sequence[Event]) -> None:
        """Keep other events."""
        if self._over:
            return
        for payload in self._dialect.events(events):
            self._outbox.frame(self, payload, self._clock())
        self._changed()

    def ended(self) -> None:
        """Learn that nothing more comes."""
        self._over = True
        self._news.set()

    def failed(self, error: WireError) -> None:
        """Keep the error as the last event."""
        if self._over:
            return
        self._outbox.frame(self, self._dialect.error(error), self._clock())
        self._count()
        self.ended()

    def drain(self) -> None:
        """End before the end: a client that can go on elsewhere, as soon as it knows what it follows."""
        if self._dialect.resumable:
            self._cut = True
            self._news.set()
        elif not self._over:
            self.failed(WireError(Code.SERVER_DRAINING, retry_after=1))

    def close(self) -> None:
        """Let go of what waits."""
        self._outbox = Outbox()
        self._count()

    async def take(self) -> bytes | None:
        """Wait for bytes and return them; None after the last, or when it was cut."""
        while not (self._outbox or self._over or (self._cut and self._begun)):
            self._news.clear()
            await self._news.wait()
        if self._cut and self._begun:
            return None
        self._begun = True
        frames: list[bytes] = []
        size = 0
        while size < _CHUNK and (frame := self._outbox.take(self._clock())) is not None:
            frames.append(frame)
            size += len(frame)
        self._count()
        return b"".join(frames) or None

    def _delta(self, epoch: int, first: int, last: int, text: bytes) -> None:
        if self._over:
            return  # a stream that was drained says no more
        if self._frame is None or epoch != self._epoch:
            self._epoch = epoch
            self._frame = self._dialect.frame(epoch, scored=self._scored)
        self._outbox.delta(self, self._frame, first, last, text, self._clock())

    def _changed(self) -> None:
        self._count()
        if self.too_slow or self._outbox.stuck(self._clock()):
            self.too_slow = self._over = True
            self.close()  # the log has it
        self._news.set()

    def _count(self) -> None:
        """Show what waits and what was merged among the figures of all readers."""
        if self._outbox.size != self._shown:
            self._metrics.outbox_bytes.inc(self._outbox.size - self._shown)
            self._shown = self._outbox.size
        if self._outbox.merged:
            self._metrics.merged.inc(self._outbox.merged)
            self._outbox.merged = 0


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


Shape = Callable[[bytes], bytes | WireError]
"""From an ended response object to the body of the answer, or to why there is none."""

Close = Callable[[bool], None]
"""Called when the client or the response is gone; it is told whether the client has left."""


class EventStream(Response):
    """Sends what a reader keeps."""

    media_type = "text/event-stream"
    HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

    def __init__(self, reader: StreamReader, close: Close, metrics: Metrics, drain: Drain) -> None:
        super().__init__(headers=self.HEADERS)
        del self.headers["content-length"]
        self._reader = reader
        self._close = close
        self._metrics = metrics
        self._drain = drain

    @property
    def stays(self) -> bool:
        """Whether its client could not go on elsewhere."""
        return not self._reader.resumable

    def drain(self) -> None:
        """Cut the stream: a client that sees no ending knows that it may go on after its last event."""
        self._reader.drain()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        del scope
        gone = asyncio.ensure_future(until_gone(receive, self._reader.ended))
        self._metrics.streams.inc()
        self._drain.add(self)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if await self._send_all(send) and not gone.done():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()
            self._metrics.streams.dec()
            self._drain.discard(self)
            self._reader.close()
            self._close(not self._reader.may_come_back)

    async def _send_all(self, send: Send) -> bool:
        """Send to the end; False if the stream was cut before it."""
        while (chunk := await self._next()) is not None:
            try:
                async with asyncio.timeout(PATIENCE):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except TimeoutError:
                self._reader.too_slow = True
            if self._reader.too_slow:
                break
        if self._reader.too_slow:
            self._metrics.slow_closes.inc()
        return not self._reader.cut

    async def _next(self) -> bytes | None:
        """Wait for the next bytes; a comment in a long silence, so that nothing on the way takes it for dead."""
        try:
            async with asyncio.timeout(QUIET_SECONDS):
                return await self._reader.take()
        except TimeoutError:
            return _COMMENT


class WholeResponse(Response):
    """Sends the response object when the response has ended, unless the client has left before."""

    media_type = "application/json"

    def __init__(
        self, collector: Collector, close: Close, drain: Drain, *, keyed: bool, shape: Shape
    ) -> None:
        super().__init__()
        self._collector = collector
        self._shape = shape
        self._close = close
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
            self._close(not (self._drained and self._keyed))
        if not ending.cancelled():
            await self._answer()(scope, receive, send)

    def _answer(self) -> Response:
        error, response = self._collector.error, self._collector.response
        if error is not None or response is None:
            return refused(error or WireError(Code.SERVER_ERROR))
        body = self._shape(response)
        if isinstance(body, WireError):
            return refused(body)
        return Response(body, media_type="application/json")


def refused(error: WireError) -> Response:
    """Answer a request with an error."""
    return Response(error.http(), error.status, error.headers, media_type="application/json")


async def until_gone(receive: Receive, then: Callable[[], object]) -> None:
    """Call ``then`` when the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass
    then()
