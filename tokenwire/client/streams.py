"""The shells of the machine: a socket, a clock and dice, for ``for`` and for ``async for``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import secrets
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import connect as connect_sync

from tokenwire.client.machine import CEILING, Dial, Effect, Fail, Finish, Machine, Piece, Send
from tokenwire.client.wire import Message, headers, is_local, read, socket_url

OPEN_SECONDS = 10.0
"""A handshake that takes longer is given up."""
CLOSE_SECONDS = 1.0
"""So long a server may take to say that it has seen our close: we have all that we want of it, and it may be frozen."""

_DRAW = random.SystemRandom()
_TROUBLE = (OSError, TimeoutError, InvalidHandshake, ConnectionClosed, EOFError)
"""What a connection that does not come about raises; one that is reset at once is ConnectionClosed."""


def stream(  # noqa: PLR0913 - each is an option of its own
    prompt: str | Sequence[Mapping[str, object]],
    *,
    base_url: str = "http://127.0.0.1:8080/v1",
    api_key: str | None = None,
    model: str | None = None,
    patience: float = 60.0,
    idempotency_key: str | None = None,
    **fields: object,
) -> Stream:
    """Ask for a response; read its text with ``for piece in ...`` or ``async for piece in ...``, once.

    ``prompt`` is a text or a list of messages, ``fields`` are further fields of ``response.create``
    (``max_output_tokens``, ``temperature``, ``instructions``, ...).  A socket that breaks is replaced and the
    text goes on where it was; ``patience`` is how many seconds that may fail in a row, or the server may take to say
    that it has taken the request.

    Iterating raises Refused, Failed, Lost or Unreachable (all are StreamError).  Raises ValueError if
    ``base_url`` is none, or ``api_key`` cannot stand in a header.
    """
    request = {**fields, "input": prompt if isinstance(prompt, str) else list(prompt)}
    if model is not None:
        request["model"] = model
    return Stream(socket_url(base_url), api_key, request, idempotency_key, patience, local=is_local(base_url))


class Stream:
    """One response: its text piece by piece, and what is known of it meanwhile."""

    def __init__(  # noqa: PLR0913 - what stream() was told
        self,
        url: str,
        api_key: str | None,
        request: Mapping[str, object],
        key: str | None,
        patience: float,
        *,
        local: bool,
    ) -> None:
        self._machine = Machine(request, key or secrets.token_hex(16), patience)
        self._url = url
        self._options: dict[str, Any] = {
            "additional_headers": headers(api_key),
            "compression": None,
            "max_size": None,
            "open_timeout": max(CLOSE_SECONDS, min(OPEN_SECONDS, patience)),
            "close_timeout": CLOSE_SECONDS,
            "proxy": None if local else True,
        }
        self._say: Callable[[Message], object] | None = None
        """Sends on the socket that is open, from any thread."""
        self._after: float | None = 0.0
        """Seconds until the next socket; None when there is none."""
        self._read = False
        self._lock = threading.Lock()

    # ---- what is known ----

    @property
    def response_id(self) -> str | None:
        """Return the response's id; None until the server has named it."""
        return self._machine.response_id

    @property
    def response(self) -> dict[str, Any] | None:
        """Return the newest response object; after the ending it is the whole one."""
        return self._machine.response

    @property
    def usage(self) -> dict[str, Any] | None:
        """Return the token counts; None until the ending."""
        return None if self.response is None else self.response.get("usage")

    @property
    def text(self) -> str:
        """Return the text so far."""
        return self._machine.text

    @property
    def cursor(self) -> tuple[int, int | None]:
        """Return number and epoch of the last event."""
        return self._machine.last, self._machine.epoch

    @property
    def resumes(self) -> int:
        """Return how often the text went on after a lost socket."""
        return self._machine.resumes

    def cancel(self) -> None:
        """Stop the response, from any thread; iterating goes on to its ending, which follows at once.

        Leaving a loop is no stop: the response then goes on for ``keep`` seconds.
        """
        with self._lock:
            for effect in self._machine.stop():
                if isinstance(effect, Send) and self._say is not None:
                    self._say(effect.message)

    # ---- reading it ----

    def __iter__(self) -> Iterator[str]:
        self._begin()
        while self._after is not None:
            time.sleep(self._after)
            yield from self._visit()

    async def __aiter__(self) -> AsyncIterator[str]:
        self._begin()
        while self._after is not None:
            await asyncio.sleep(self._after)
            async with contextlib.aclosing(self._visit_async()) as pieces:
                async for piece in pieces:
                    yield piece

    def _visit(self) -> Generator[str]:
        """Open one socket and stay as long as it stands."""
        try:
            socket = connect_sync(self._url, **self._options)
        except _TROUBLE as problem:
            self._done(self._unreached(problem))
            return
        with socket:
            effects = self._opened(partial(_send, socket))
            while not self._done(effects):
                yield from _texts(effects)
                effects = self._hear(partial(socket.recv, self._bears()))

    async def _visit_async(self) -> AsyncGenerator[str]:
        """Open one socket and stay as long as it stands."""
        try:
            socket = await connect_async(self._url, **self._options)
        except _TROUBLE as problem:
            self._done(self._unreached(problem))
            return
        loop, sending = asyncio.get_running_loop(), set[asyncio.Future[None]]()

        async def send(message: Message) -> None:
            with contextlib.suppress(ConnectionClosed):  # recv() will say so
                await socket.send(json.dumps(message))

        def say(message: Message) -> None:
            loop.call_soon_threadsafe(lambda: sending.add(loop.create_task(send(message))))

        async with socket:
            effects = self._opened(say)
            while not self._done(effects):
                for text in _texts(effects):
                    yield text
                effects = await self._hear_async(lambda: asyncio.wait_for(socket.recv(), self._bears()))

    # ---- what both share ----

    def _begin(self) -> None:
        if self._read:
            raise RuntimeError("A stream is read once: ask again for another response.")
        self._read = True

    def _opened(self, say: Callable[[Message], object]) -> list[Effect]:
        with self._lock:  # a cancel from another thread comes before or after
            self._say = say
            return self._machine.opened(time.monotonic())

    def _done(self, effects: Sequence[Effect]) -> bool:
        """Do what is to be done at once; say whether the socket has had its day.  Raises StreamError."""
        for effect in effects:
            match effect:
                case Send() if self._say is not None:
                    self._say(effect.message)
                case Dial() | Finish() | Fail():
                    self._say = None
                    self._after = effect.after if isinstance(effect, Dial) else None
                    if isinstance(effect, Fail):
                        raise effect.error
                    return True
                case _:
                    pass  # text is the caller's
        return False

    def _bears(self) -> float:
        return self._machine.bears(time.monotonic())

    def _hear(self, receive: Callable[[], str | bytes]) -> list[Effect]:
        try:
            frame = receive()
        except TimeoutError:
            return self._machine.quiet(*_moment())
        except ConnectionClosed as closed:
            return self._machine.closed(_code(closed), *_moment())
        with self._lock:
            return self._machine.received(read(frame), *_moment())

    async def _hear_async(self, receive: Callable[[], Any]) -> list[Effect]:
        try:
            frame = await receive()
        except TimeoutError:
            return self._machine.quiet(*_moment())
        except ConnectionClosed as closed:
            return self._machine.closed(_code(closed), *_moment())
        with self._lock:
            return self._machine.received(read(frame), *_moment())

    def _unreached(self, problem: Exception) -> list[Effect]:
        if isinstance(problem, InvalidStatus):
            return self._machine.refused(*_refusal(problem), *_moment())
        return self._machine.closed(1006, *_moment())


def _texts(effects: Sequence[Effect]) -> Iterator[str]:
    return (effect.text for effect in effects if isinstance(effect, Piece) and effect.text)


def _send(socket: Any, message: Message) -> None:
    with contextlib.suppress(ConnectionClosed):  # recv() will say so
        socket.send(json.dumps(message))


def _moment() -> tuple[float, float]:
    return time.monotonic(), _DRAW.random()


def _code(closed: ConnectionClosed) -> int:
    return 1006 if closed.rcvd is None else int(closed.rcvd.code)


def _refusal(refused: InvalidStatus) -> tuple[int, str, str, float | None]:
    """Return status, code, sentence and seconds to wait of an HTTP refusal."""
    answer = refused.response
    after = answer.headers.get("Retry-After", "")
    seconds = min(float(after), 60 * CEILING) if after.isdecimal() else None
    try:
        error = json.loads(answer.body or b"")["error"]
        return answer.status_code, str(error["code"]), str(error["message"]), seconds
    except (ValueError, KeyError, TypeError):
        sentence = f"The server answered {answer.status_code} {answer.reason_phrase}."
        return answer.status_code, "connection_refused", sentence, seconds
