"""The bytes of one subscriber connection, read by hiredis inside an asyncio protocol.

A client library's Pub/Sub loop costs about nine times as much per message and reconnects without a word.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import hiredis

from shared.store.place import Options

OnReply = Callable[[list[Any]], None]
"""Called on the event loop with each reply or message, in the order of the link."""
OnRefusal = Callable[[str], bool]
"""Called with a server's error; says whether the link may go on."""


async def open_subscriber(options: Options, received: OnReply, refused: OnRefusal) -> Subscriber:
    """Open a connection and say who we are.  Raises OSError."""
    loop = asyncio.get_running_loop()

    def factory() -> Subscriber:
        return Subscriber(received, refused)

    if "path" in options:
        _, subscriber = await loop.create_unix_connection(factory, options["path"])
    else:
        _, subscriber = await loop.create_connection(
            factory, options.get("host", "localhost"), options.get("port", 6379), ssl=_tls(options)
        )
    if "password" in options:
        subscriber.send(b"AUTH", options.get("username") or "default", options["password"])
    return subscriber


class Subscriber(asyncio.Protocol):
    """One connection: commands go out, replies and messages are handed on as they come."""

    def __init__(self, received: OnReply, refused: OnRefusal) -> None:
        self._received = received
        self._refused = refused
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self.announced = False
        loop = asyncio.get_running_loop()
        self._time = loop.time
        self.lost: asyncio.Future[None] = loop.create_future()
        self.heard_at = loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = transport  # type: ignore[assignment] # a stream protocol is given a Transport

    def data_received(self, data: bytes) -> None:
        """Hand on every whole reply."""
        self.heard_at = self._time()
        reader = self._reader
        reader.feed(data)
        while (reply := reader.gets()) is not False:
            if isinstance(reply, list):
                self._received(reply)
            elif isinstance(reply, hiredis.ReplyError) and not self._refused(str(reply)):
                self.abort()  # AUTH refused, or the server is loading: the next link tries again
                return

    def connection_lost(self, _exc: Exception | None) -> None:
        """Say that the link is lost."""
        if not self.lost.done():
            self.lost.set_result(None)

    def send(self, *arguments: str | bytes) -> None:
        """Send a command; on a lost connection it is lost too."""
        if self._transport is not None:
            self._transport.write(hiredis.pack_command(arguments))  # type: ignore[arg-type] # its stub says a tuple of one

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()


def _tls(options: Options) -> ssl.SSLContext | None:
    """Return a verifying TLS context for ``rediss://`` (optionally with ``ssl_ca_certs``), else None."""
    if "ssl" not in getattr(options.get("connection_class"), "__name__", "").lower():
        return None
    return ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
