"""The answer of the HTTP door that lasts as long as a response: server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.attachment import Detach
from gateway.dialect import Dialect
from gateway.drain import Drain
from gateway.errors import Code, WireError
from gateway.metrics import Metrics, Waiting
from gateway.outbox import LIMIT, PATIENCE, Outbox
from gateway.render import DeltaFrame, Event, is_scored, joined
from gateway.requests import until_gone
from shared.request import Request

QUIET_SECONDS = 15.0
"""A stream that has nothing to say for so long says that it is alive."""

_COMMENT = b": alive\n\n"
_CHUNK = 16 * 1024
_REPLAY_CEILING = 16 * 1024 * 1024
"""Bytes that an unmerged replay may have waiting: a whole log, an event per delta."""


class StreamReader:
    """Keeps what the hub delivers until the client takes it."""

    def __init__(
        self, dialect: Dialect, clock: Callable[[], float], metrics: Metrics, *, merge: bool
    ) -> None:
        self._dialect = dialect
        self._clock = clock
        self._merge = merge
        self._outbox = Outbox(LIMIT) if merge else Outbox(None, _REPLAY_CEILING)
        self._waiting = Waiting(metrics)
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
        self._waiting.show(self._outbox)
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
        self._outbox.clear()
        self._waiting.show(self._outbox)

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
        self._waiting.show(self._outbox)
        return b"".join(frames) or None

    def _delta(self, epoch: int, first: int, last: int, text: bytes) -> None:
        if self._over:
            return  # a stream that was drained says no more
        if self._frame is None or epoch != self._epoch:
            self._epoch = epoch
            self._frame = self._dialect.frame(epoch, scored=self._scored)
        self._outbox.delta(self, self._frame, first, last, text, self._clock())

    def _changed(self) -> None:
        self._waiting.show(self._outbox)
        if self.too_slow or self._outbox.stuck(self._clock()):
            self.too_slow = self._over = True
            self.close()  # the log has it
        self._news.set()


class EventStream(Response):
    """Sends what a reader keeps."""

    media_type = "text/event-stream"
    HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

    def __init__(self, reader: StreamReader, detach: Detach, metrics: Metrics, drain: Drain) -> None:
        super().__init__(headers=self.HEADERS)
        del self.headers["content-length"]
        self._reader = reader
        self._detach = detach
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
            self._detach(not self._reader.may_come_back)

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
