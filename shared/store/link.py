"""One connection to the server, shared by all verbs of a process without a lock per call.

Callers put commands in; one task writes what has gathered, in one packet, and reads the replies in order.
So concurrent verbs share round trips, and a caller that is cancelled never leaves a reply behind for the
next one.  Nothing is retried here: a verb whose reply was lost fails with StoreUnavailable, and its caller
repeats it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from redis.asyncio.connection import Connection
from redis.exceptions import RedisError

from shared.background import background, tell
from shared.store.call import Call
from shared.store.contract import StoreUnavailable
from shared.store.place import Place, ended, open_connection, parse, place_of
from shared.store.scripts import Script

Seen = Callable[[float | None], None]
"""Told of every packet: the seconds until its last reply, or None if the replies were lost."""

MOST_COMMANDS = 256
"""Commands in one packet: bounds the time for which one packet holds the server."""


_IDLE_SECONDS = 0.1
"""Between two looks whether something is still on its way."""


class WrongLink(StoreUnavailable):
    """The command was bound to a link that is no more; it was not sent."""


class Server(Protocol):
    """What the stores need of a server: a :class:`Link`, or many of them to a Cluster's nodes."""

    @property
    def number(self) -> int:
        """Grows with every new connection."""

    async def command(self, *arguments: Any, key: str | None = None, link: int | None = None) -> Any:
        """Send one command and return its reply.

        In a Cluster it goes to the node of ``key``, by default its second argument; one without goes to the
        node that knows the workers.  Raises StoreUnavailable if the reply was lost, ServerError if the
        reply is an error.
        """

    async def script(
        self, script: Script, keys: tuple[str, ...], *arguments: Any, link: int | None = None
    ) -> Any:
        """Run a script, in a Cluster at the node of its first key; raises as :meth:`command`."""

    async def primaries(self) -> Sequence[Link]:
        """Return a link to each server that holds keys."""

    async def close(self) -> None:
        """Close the connection; commands on their way fail."""


class Link:
    """A connection with automatic pipelining.

    ``number`` grows with every new connection.  A command may be bound to a number: it is then sent on
    that very connection or not at all.
    """

    def __init__(self, place: Place, *, timeout: float = 5.0, seen: Seen = lambda _: None) -> None:
        self.number = 0
        self._seen = seen
        self._place = place
        self._connection: Connection | None = None
        self._timeout = timeout
        self._calls: deque[Call] = deque()
        self._wake = asyncio.Event()
        self._closed = self._busy = False
        self._task = background(self._run(), "redis-link")

    @classmethod
    def to(cls, url: str, *, timeout: float = 5.0, seen: Seen = lambda _: None) -> Link:
        """Make a link to a server alone or under Sentinel; it connects with the first command.

        Raises BadAddress if the URL is none of these.
        """
        return cls(place_of(parse(url)), timeout=timeout, seen=seen)

    @property
    def connected(self) -> bool:
        """Whether a connection stands."""
        return self._connection is not None and bool(self._connection.is_connected)

    async def command(self, *arguments: Any, key: str | None = None, link: int | None = None) -> Any:
        """Send one command and return its reply.

        Raises StoreUnavailable if the reply was lost, ServerError if the reply is an error.
        """
        del key  # there is one server
        return await self._put(Call(arguments, self._future(), link))

    async def script(
        self, script: Script, keys: tuple[str, ...], *arguments: Any, link: int | None = None
    ) -> Any:
        """Run a script by its digest; a server that does not know it gets the source on the same link."""
        call = Call(("EVALSHA", script.sha, len(keys), *keys, *arguments), self._future(), link, script)
        return await self._put(call)

    async def asking(self, arguments: tuple[Any, ...], script: Script | None = None) -> Any:
        """Send one command to a Cluster's node that is just taking its slot over (ASK)."""
        self._put(Call(("ASKING",), self._future(), None)).add_done_callback(_forget)
        call = Call(arguments, self._future(), None)
        # A digest that is not known there would need a second try, which is not ASKING any more.
        return await self._put(call if script is None else replace(call, script=script).with_source())

    async def primaries(self) -> Sequence[Link]:
        """Return this link: there is one server."""
        return (self,)

    async def connect(self) -> int:
        """Make sure of a connection and return its number."""
        await self.command("PING")
        return self.number

    async def idle(self) -> None:
        """Return when nothing is on its way."""
        while self._calls or self._busy:  # noqa: ASYNC110 - an event would cost something with each packet
            await asyncio.sleep(_IDLE_SECONDS)

    async def close(self) -> None:
        """Close the connection; commands on their way fail."""
        self._closed = True
        self._wake.set()  # where a cancellation is swallowed, it ends with its round
        await ended(self._task)
        await self._drop(StoreUnavailable("the link was closed"), [])
        self._fail_all(StoreUnavailable("the link was closed"))

    def _future(self) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().create_future()

    def _put(self, call: Call) -> asyncio.Future[Any]:
        if self._closed:
            call.future.set_exception(StoreUnavailable("the link was closed"))
            return call.future
        if call.link is not None and not self._stands(call.link):
            # It can never be sent.  It must not wait for a server that hangs either: others go on meanwhile.
            problem = "the connection has changed" if self.connected else "there is no connection just now"
            call.future.set_exception(WrongLink(problem))
            if self.connected or self._calls or self._busy:
                return call.future
            self._put(Call(("PING",), self._future(), None)).add_done_callback(_forget)
            return call.future
        self._calls.append(call)
        self._wake.set()
        return call.future

    def _stands(self, number: int) -> bool:
        return number == self.number and self.connected

    async def _run(self) -> None:
        while not self._closed:
            await self._wake.wait()
            self._wake.clear()
            while self._calls and not self._closed:
                count = min(len(self._calls), MOST_COMMANDS)
                self._busy = True
                await self._round([self._calls.popleft() for _ in range(count)])
                self._busy = False

    async def _round(self, calls: list[Call]) -> None:
        """Send one packet and settle its calls; a lost connection fails what has no reply yet."""
        try:
            async with asyncio.timeout(self._timeout):
                connection = await self._ensure()
                calls = self._bound_here(calls)
                began = time.perf_counter()
                await self._exchange(connection, calls)
                self._seen(time.perf_counter() - began)
        except (RedisError, OSError, TimeoutError) as error:
            self._seen(None)
            reason = str(error).rstrip(".") or f"nothing came within {self._timeout:g} s"
            await self._drop(StoreUnavailable(f"Redis does not answer: {reason}"), calls)
        except asyncio.CancelledError:
            await self._drop(StoreUnavailable("the link was closed"), calls)
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, those behind it must not wait for ever
            tell("a packet to Redis", error)
            await self._drop(StoreUnavailable(f"the packet failed: {type(error).__name__}"), calls)

    async def _ensure(self) -> Connection:
        if self._connection is None or not self.connected:
            self._connection = await open_connection(self._place, self._timeout)
            self.number += 1
        return self._connection

    def _bound_here(self, calls: list[Call]) -> list[Call]:
        here = []
        for call in calls:
            if call.link is None or call.link == self.number:
                here.append(call)
            else:
                call.fail(WrongLink("the connection has changed"))
        return here

    async def _exchange(self, connection: Connection, calls: list[Call]) -> None:
        await connection.send_packed_command(b"".join(call.packed for call in calls), check_health=False)
        unknown = [call for call in calls if not await call.settle(connection)]
        if unknown:
            await self._exchange(connection, [call.with_source() for call in unknown])

    async def _drop(self, error: StoreUnavailable, calls: list[Call]) -> None:
        for call in calls:
            call.fail(error)
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            if self._connection is not None:
                await self._connection.disconnect(nowait=True)

    def _fail_all(self, error: StoreUnavailable) -> None:
        while self._calls:
            self._calls.popleft().fail(error)


def _forget(future: asyncio.Future[Any]) -> None:
    """Take note of a reply that nobody waits for."""
    if not future.cancelled():
        future.exception()
