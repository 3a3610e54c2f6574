"""All WebSockets of a gateway: their handshakes, their clocks, and their end."""

from __future__ import annotations

import asyncio
import contextlib
import http
from urllib.parse import parse_qs, urlsplit

from websockets.http11 import Request, Response

from gateway.connection import CLOSE_SECONDS, Connection
from gateway.desk import Desk
from gateway.door import DoorConnection
from gateway.entrance import Entrance
from gateway.errors import Code, WireError
from gateway.handshake import answer
from gateway.principal import Principal
from gateway.session import TELL_SECONDS
from gateway.wire import Resume, cursors


class Sockets:
    """All WebSockets of a gateway."""

    def __init__(self, desk: Desk, entrance: Entrance, most: int) -> None:
        self._desk = desk
        self._entrance = entrance
        self._most = most
        self._open: set[Connection] = set()
        self._empty = asyncio.Event()

    def __len__(self) -> int:
        return len(self._open)

    async def judge(self, connection: DoorConnection, request: Request) -> Response | None:
        """Refuse a handshake with an HTTP answer, or return None."""
        principal = await self._admitted(connection, request)
        if isinstance(principal, Principal):
            error = await self._entered(connection, principal)
        else:
            error = principal
        if error is None:
            return None
        self._desk.metrics.rejections.labels(error.code.value).inc()
        self._desk.log.info("handshake_refused", code=error.code.value, connection=str(connection.id))
        return answer(error.status, http.HTTPStatus(error.status).phrase, error.http(), error.headers)

    async def _entered(self, connection: DoorConnection, principal: Principal) -> WireError | None:
        """Count the socket until its connection is gone, however early that is."""
        meter = self._desk.meter
        error = await meter.enter(principal)
        if error is not None:
            return error
        connection.principal = principal
        connection.when_lost(lambda: self._desk.tasks.spawn(meter.leave(principal), "leave"))
        return None

    def turned_away(self) -> None:
        """Note that the door let one not even ask: too many came at once."""
        self._desk.metrics.rejections.labels(Code.OVERLOADED.value).inc()

    async def serve(self, connection: DoorConnection) -> None:
        """Serve one socket until it is gone."""
        desk = self._desk
        if connection.request is None or connection.principal is None:
            raise RuntimeError("the handshake is over, so there was a request, and somebody made it")
        resumes = _resumes(connection.request)
        if isinstance(resumes, WireError):
            raise TypeError("the handshake was refused already")
        traceparent = connection.request.headers.get("traceparent")
        socket = Connection(connection, connection.principal, desk, traceparent)
        self._open.add(socket)
        desk.metrics.sockets.inc()
        desk.drain.add(socket)
        self._entrance.roster.add(socket)
        try:
            await socket.run(resumes)
        finally:
            self._open.discard(socket)
            desk.drain.discard(socket)
            self._entrance.roster.discard(socket)
            desk.metrics.sockets.dec()
            if not self._open:
                self._empty.set()

    async def tick(self) -> None:
        """Look at every socket's clock."""
        for socket in list(self._open):
            socket.tick()

    async def emptied(self) -> None:
        """Wait until all sockets are gone, as long as their close may take."""
        if self._open:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2 * TELL_SECONDS + CLOSE_SECONDS + 1):
                    await self._empty.wait()

    async def _admitted(self, connection: DoorConnection, request: Request) -> Principal | WireError:
        if self._desk.drain.begun:
            return WireError(Code.SERVER_DRAINING, retry_after=1)
        if len(self._open) >= self._most:
            return WireError(Code.OVERLOADED, "Too many sockets are open here.", retry_after=5)
        resumes = _resumes(request)
        if isinstance(resumes, WireError):
            return resumes
        ticket = _query(request).get("ticket", [None])[0]
        return await self._entrance.admit(request.headers.get_all, connection.peer, ticket)


def _resumes(request: Request) -> list[Resume] | WireError:
    return cursors(_query(request))


def _query(request: Request) -> dict[str, list[str]]:
    return parse_qs(urlsplit(request.path).query, keep_blank_values=True)
