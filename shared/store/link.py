"""One connection to the server, shared by all verbs of a process without a lock per call.

Callers put commands in; one task writes what has gathered, in one packet, and reads the replies in order.
So concurrent verbs share round trips, and a caller that is cancelled never leaves a reply behind for the
next one.  Nothing is retried here: a verb whose reply was lost fails with StoreUnavailable, and its caller
repeats it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.store.contract import StoreUnavailable
from shared.store.scripts import Script

MOST_COMMANDS = 256
"""Commands in one packet: bounds the time for which one packet holds the server."""


class WrongLink(StoreUnavailable):
    """The command was bound to a link that is no more; it was not sent."""


class ServerError(Exception):
    """The server answered with an error of its own, e.g. that it is out of memory."""

    @property
    def out_of_memory(self) -> bool:
        """Whether the server refused to write because its memory is full."""
        return str(self).startswith(("OOM", "command not allowed when used memory"))


@dataclass(slots=True)
class _Call:
    """A command on its way."""

    arguments: tuple[Any, ...]
    future: asyncio.Future[Any]
    link: int | None
    script: Script | None = field(default=None)


class Link:
    """A connection with automatic pipelining.

    ``number`` grows with every new connection.  A command may be bound to a number: it is then sent on
    that very connection or not at all.
    """

    def __init__(self, pool: ConnectionPool, *, timeout: float = 5.0) -> None:
        self.number = 0
        self._connection: Connection = pool.make_connection()  # type: ignore[no-untyped-call] # redis-py types it so
        self._timeout = timeout
        self._calls: deque[_Call] = deque()
        self._wake = asyncio.Event()
        self._closed = False
        self._task = asyncio.create_task(self._run(), name="redis-link")

    @classmethod
    def to(cls, url: str, *, timeout: float = 5.0) -> Link:
        """Make a link to ``redis://``, ``rediss://`` or ``unix://``; it connects with the first command."""
        pool = ConnectionPool.from_url(
            url, retry=None, retry_on_error=[], socket_connect_timeout=timeout, health_check_interval=0
        )
        return cls(pool, timeout=timeout)

    async def command(self, *arguments: Any, link: int | None = None) -> Any:
        """Send one command and return its reply.

        Raises StoreUnavailable if the reply was lost, ServerError if the reply is an error.
        """
        return await self._put(_Call(arguments, self._future(), link))

    async def script(
        self, script: Script, keys: tuple[str, ...], *arguments: Any, link: int | None = None
    ) -> Any:
        """Run a script by its digest; a server that does not know it gets the source on the same link."""
        call = _Call(("EVALSHA", script.sha, len(keys), *keys, *arguments), self._future(), link, script)
        return await self._put(call)

    async def connect(self) -> int:
        """Make sure of a connection and return its number."""
        await self.command("PING")
        return self.number

    async def close(self) -> None:
        """Close the connection; commands on their way fail."""
        self._closed = True
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self._drop(StoreUnavailable("the link was closed"), [])
        self._fail_all(StoreUnavailable("the link was closed"))

    def _future(self) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().create_future()

    def _put(self, call: _Call) -> asyncio.Future[Any]:
        if self._closed:
            call.future.set_exception(StoreUnavailable("the link was closed"))
        else:
            self._calls.append(call)
            self._wake.set()
        return call.future

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._calls:
                count = min(len(self._calls), MOST_COMMANDS)
                await self._round([self._calls.popleft() for _ in range(count)])

    async def _round(self, calls: list[_Call]) -> None:
        """Send one packet and settle its calls; a lost connection fails what has no reply yet."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._ensure()
                calls = self._bound_here(calls)
                await self._exchange(calls)
        except (RedisConnectionError, RedisTimeoutError, RedisError, OSError, TimeoutError) as error:
            await self._drop(
                StoreUnavailable(f"Redis does not answer: {error or type(error).__name__}"), calls
            )
        except asyncio.CancelledError:
            await self._drop(StoreUnavailable("the link was closed"), calls)
            raise

    async def _ensure(self) -> None:
        if not self._connection.is_connected:
            await self._connection.connect()  # type: ignore[no-untyped-call] # redis-py types it so
            self.number += 1

    def _bound_here(self, calls: list[_Call]) -> list[_Call]:
        here = []
        for call in calls:
            if call.link is None or call.link == self.number:
                here.append(call)
            elif not call.future.done():
                call.future.set_exception(WrongLink("the connection has changed"))
        return here

    async def _exchange(self, calls: list[_Call]) -> None:
        connection = self._connection
        await connection.send_packed_command(
            connection.pack_commands([call.arguments for call in calls]), check_health=False
        )
        unknown = [call for call in calls if not await self._settle(call)]
        if unknown:
            await self._exchange([_with_source(call) for call in unknown])

    async def _settle(self, call: _Call) -> bool:
        """Read one reply into its future; False if the server does not know the script."""
        try:
            reply = await self._connection.read_response(disconnect_on_error=False)
        except NoScriptError:
            return False
        except ResponseError as error:
            if not call.future.done():
                call.future.set_exception(ServerError(str(error)))
        else:
            if not call.future.done():
                call.future.set_result(reply)
        return True

    async def _drop(self, error: StoreUnavailable, calls: list[_Call]) -> None:
        for call in calls:
            if not call.future.done():
                call.future.set_exception(error)
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            await self._connection.disconnect(nowait=True)

    def _fail_all(self, error: StoreUnavailable) -> None:
        while self._calls:
            call = self._calls.popleft()
            if not call.future.done():
                call.future.set_exception(error)


def _with_source(call: _Call) -> _Call:
    if call.script is None:  # the server says NOSCRIPT to scripts alone
        raise RedisError(f"NOSCRIPT in reply to {call.arguments[0]}")
    return _Call(("EVAL", call.script.source, *call.arguments[2:]), call.future, call.link)
