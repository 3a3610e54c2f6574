"""One port for sockets and HTTP: looks at the first header block and hands the connection on.

``websockets`` keeps upgrades of the socket's path; everything else goes to uvicorn's HTTP protocol object
with an ASGI application.  Both keep their own servers' behaviour (limits, pings, keep-alive).
"""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Callable
from typing import Any, Protocol, cast

from uvicorn import Config
from uvicorn.server import ServerState
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

from gateway.errors import CloseCode, Code, WireError
from gateway.frame import text_frame
from gateway.handshake import SUBPROTOCOL, choose_subprotocol, name_connection, reject, wants_socket
from gateway.plain import HEAD_SECONDS, HttpConnection, OnSocket, hang_up, turn_away
from gateway.principal import Principal
from gateway.turnstile import Turnstile

HEAD_BYTES = 16 * 1024
MESSAGE_BYTES = 64 * 1024
PING_SECONDS = 20.0
MOST_UNDECIDED = 4096
"""Connections at once whose header block has not come: each costs memory and a descriptor for ten seconds."""
WRITE_BYTES = 32 * 1024
"""Bytes that wait in the transport before the outbox takes over."""
KERNEL_BYTES = 32 * 1024
"""Asked of the kernel as send buffer (it doubles it): what lies there can't be merged or outrun by Stop."""
USER_TIMEOUT_MS = 30_000
"""Unacknowledged bytes for so long mean a dead peer (TCP_USER_TIMEOUT)."""


class Visitors(Protocol):
    """What takes the WebSockets that come through the door."""

    async def judge(self, connection: DoorConnection, request: Request) -> Response | None:
        """Refuse a handshake with an HTTP answer, or return None."""

    async def serve(self, connection: DoorConnection) -> None:
        """Serve one socket until it is gone."""

    def turned_away(self) -> None:
        """Learn that one may not even ask: too many came at once."""


class Door:
    """The listening port and the connections that came through it."""

    def __init__(self, sockets: Visitors, application: Any, turnstile: Turnstile) -> None:
        self._sockets = sockets
        self._turnstile = turnstile
        self._config = Config(
            application,
            ws="none",
            http="h11",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=30,
            h11_max_incomplete_event_size=HEAD_BYTES,
        )
        self._state = ServerState()
        self._undecided: set[DoorConnection] = set()
        self._server: Server | None = None

    async def start(self, host: str, port: int, *, reuse_port: bool = False) -> int:
        """Listen; return the port.  Raises OSError if it cannot be had."""
        self._config.load()
        self._server = await serve(
            self._sockets.serve,  # type: ignore[arg-type]  # every connection is made below, as a DoorConnection
            host,
            port,
            create_connection=functools.partial(DoorConnection, door=self),  # type: ignore[arg-type]  # documented: a wrapper will do
            process_request=self._sockets.judge,  # type: ignore[arg-type]  # as for the handler
            process_response=name_connection,
            select_subprotocol=choose_subprotocol,
            subprotocols=[SUBPROTOCOL],
            compression=None,
            server_header=None,
            open_timeout=HEAD_SECONDS,
            ping_interval=PING_SECONDS,
            ping_timeout=PING_SECONDS,
            close_timeout=5.0,
            max_size=MESSAGE_BYTES,
            write_limit=WRITE_BYTES,
            reuse_port=reuse_port or None,
            backlog=1024,
        )
        return int(self._server.sockets[0].getsockname()[1])

    def http_protocol(self, on_socket: OnSocket) -> HttpConnection:
        """Make the protocol object of a connection that speaks HTTP."""
        return HttpConnection(self._config, self._state, {}, on_socket=on_socket)

    def track(self, connection: DoorConnection, *, undecided: bool) -> None:
        """Remember connections that nobody else knows yet."""
        (self._undecided.add if undecided else self._undecided.discard)(connection)

    def turns_away(self, transport: asyncio.Transport, *, before_its_head: bool) -> bool:
        """Send one elsewhere in time if too many come at once, and say whether that was done.

        Connections that have said nothing are bounded by their number, handshakes by their rate.
        """
        if before_its_head:
            seconds = 1 if len(self._undecided) >= MOST_UNDECIDED else None
        else:
            seconds = self._turnstile.enter(asyncio.get_running_loop().time())
        if seconds is None:
            return False
        self._sockets.turned_away()
        sentence = "Too many connections come at once; try again later."
        turn_away(transport, WireError(Code.OVERLOADED, sentence, retry_after=seconds))
        return True

    def stop_listening(self) -> None:
        """Accept no connection any more; open ones go on."""
        if self._server is not None:
            self._server.close(close_connections=False)
        for connection in list(self._undecided):
            connection.give_up()

    async def stop(self, seconds: float) -> None:
        """Let HTTP answers finish for so long, then cut; sockets are closed by their owners."""
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(list(self._state.tasks), timeout=seconds)
        for connection in list(self._state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        if self._state.tasks:
            await asyncio.wait(list(self._state.tasks), timeout=2.0)
        if self._server is not None:
            await self._server.wait_closed()


class DoorConnection(ServerConnection):
    """A connection that is not known to be a WebSocket until its header block has been seen."""

    def __init__(self, protocol: ServerProtocol, server: Server, *, door: Door, **options: Any) -> None:
        super().__init__(protocol, server, **options)
        self._fail = protocol.fail
        protocol.fail = self._fail_saying_why  # type: ignore[method-assign]  # no other place comes before it
        protocol.reject = functools.partial(reject, protocol.reject)  # type: ignore[method-assign]  # as above
        self.on_writable: Callable[[], None] | None = None
        """Called when the transport takes bytes again."""
        self.principal: Principal | None = None
        """Who opened it; known once the handshake was judged."""
        self._on_lost: Callable[[], object] | None = None
        self._lost = False
        self._door = door
        self._head = bytearray()
        self._raw: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_socket = False
        self._answers = 0
        """Bytes of pongs that wait since the transport took bytes the last time."""

    @property
    def peer(self) -> str:
        """Return the address of the other end, or nothing where it has none."""
        peer = self.transport.get_extra_info("peername")
        return str(peer[0]) if isinstance(peer, tuple) else ""

    def when_lost(self, then: Callable[[], object]) -> None:
        """Call ``then`` once the connection is gone, at once if it is."""
        if self._lost:
            then()
        else:
            self._on_lost = then

    def write_text(self, payload: bytes) -> None:
        """Write one text frame at once, if the connection is open.

        This goes past ``send()``, whose flow control needs a task per message; ``paused`` and
        ``on_writable`` are the flow control here.  What the library sends it writes itself before it
        returns to the loop, so frames never mix.
        """
        if self.protocol.state is State.OPEN:
            self.transport.write(text_frame(payload))

    def _fail_saying_why(self, code: int, reason: str = "") -> None:
        """Fail the connection; a close code alone would not tell a client's user what was too large."""
        if code == CloseCode.TOO_BIG and self.protocol.state is State.OPEN:
            self.protocol.send_text(WireError(Code.MESSAGE_TOO_LARGE).event(None))
        self._fail(code, reason)

    def give_up(self) -> None:
        """Cut a connection whose header block has not come."""
        if self._raw is not None:
            self._raw.abort()

    # ---- callbacks of the transport ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the header block."""
        raw = cast("asyncio.Transport", transport)  # a stream protocol is given one
        if self._door.turns_away(raw, before_its_head=True):
            return
        self._raw = raw
        self._timer = self.loop.call_later(HEAD_SECONDS, self.give_up)
        self._door.track(self, undecided=True)

    def data_received(self, data: bytes) -> None:
        """Pass bytes on, or look for the end of the header block."""
        if self._is_socket:
            waits = self.transport.get_write_buffer_size()
            super().data_received(data)
            if self.paused:
                self._bound_answers(self.transport.get_write_buffer_size() - waits)
            return
        if self._raw is None:
            return  # it was turned away
        self._head += data
        end = self._head.find(b"\r\n\r\n", 0, HEAD_BYTES + 4)
        if end >= 0:
            self._decide(bytes(self._head), end)
        elif len(self._head) > HEAD_BYTES and self._raw is not None:
            hang_up(self._raw, 431, "Request Header Fields Too Large", "The header block is too large.")

    def eof_received(self) -> None:
        """Pass the end of input on; before the header block it is the end of the connection."""
        if self._is_socket:
            super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Learn that the connection is gone."""
        self._stop_waiting()
        self._lost = True
        if self._is_socket:
            super().connection_lost(exc)
        if self._on_lost is not None:
            self._on_lost()

    def resume_writing(self) -> None:
        """Learn that the transport takes bytes again."""
        super().resume_writing()
        self._answers = 0
        if self.on_writable is not None:
            self.on_writable()

    def _decide(self, received: bytes, end: int) -> None:
        self._stop_waiting()
        self._head.clear()
        transport, self._raw = self._raw, None
        if transport is None:
            return
        _bound(transport)
        if wants_socket(received[:end]):
            self._become_socket(transport, received)
            return
        http = self._door.http_protocol(self._become_socket)
        transport.set_protocol(http)
        http.connection_made(transport)
        http.data_received(received)

    def _become_socket(self, transport: asyncio.Transport, received: bytes) -> None:
        if self._door.turns_away(transport, before_its_head=False):
            return
        self._is_socket = True
        transport.set_protocol(self)
        super().connection_made(transport)
        super().data_received(received)

    def _bound_answers(self, size: int) -> None:
        """Cut a client that has pings answered and takes nothing: the library's answers know no outbox."""
        self._answers += size
        if self._answers > WRITE_BYTES:
            self.transport.abort()

    def _stop_waiting(self) -> None:
        self._door.track(self, undecided=False)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _bound(transport: asyncio.Transport) -> None:
    """Bound what the kernel keeps for a peer that is slow or dead."""
    raw = transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
