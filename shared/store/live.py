"""The fast path: one subscriber connection per process, read by hiredis inside an asyncio protocol.

A client library's Pub/Sub loop costs about nine times as much per message and reconnects without a word.
Here every new link is said aloud, since whatever was published between two links has been missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import hiredis
from redis.asyncio.connection import parse_url

from shared.log import LiveMessage
from shared.store import keys
from shared.store.contract import OnLive

OnMessage = Callable[[bytes, bytes], None]
_BATCH = 512
"""Channels in one SSUBSCRIBE."""
_PING_SECONDS = 5.0
_SILENT_SECONDS = 15.0
_FIRST_DELAY, _MOST_DELAY = 0.05, 2.0


class ChannelReader:
    """Sharded subscriptions over one connection that comes back by itself.

    ``on_message(channel, data)`` is called for each message, in the order of the link; ``on_link()`` after
    each new link, when the subscriptions that were wanted stand again.
    """

    def __init__(self, url: str, on_message: OnMessage, on_link: Callable[[], None] = lambda: None) -> None:
        self.links = 0
        self._options: Mapping[str, Any] = parse_url(url)
        self._on_message = on_message
        self._on_link = on_link
        self._wanted: set[bytes] = set()
        self._confirmed: set[bytes] = set()
        self._waiters: dict[bytes, asyncio.Future[None]] = {}
        self._outgoing: dict[bytes, bytes] = {}
        self._flushing = False
        self._protocol: _Subscriber | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to connect."""
        self._task = asyncio.create_task(self._keep_connected(), name="redis-live")

    async def close(self) -> None:
        """End the connection and everybody's wait for it."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for waiter in self._waiters.values():
            waiter.cancel()

    def want(self, channels: Iterable[bytes]) -> None:
        """Subscribe without waiting for the confirmation."""
        for channel in channels:
            if channel not in self._wanted:
                self._wanted.add(channel)
                self._send(b"SSUBSCRIBE", channel)

    async def subscribe(self, channel: bytes) -> None:
        """Return once the server has confirmed the subscription, be it on a later link."""
        self.want([channel])
        if channel in self._confirmed:
            return
        waiter = self._waiters.get(channel)
        if waiter is None:
            waiter = self._waiters[channel] = asyncio.get_running_loop().create_future()
        await asyncio.shield(waiter)

    def unsubscribe(self, channel: bytes) -> None:
        """Stop listening."""
        if channel in self._wanted:
            self._wanted.discard(channel)
            self._confirmed.discard(channel)
            waiter = self._waiters.pop(channel, None)
            if waiter is not None:
                waiter.cancel()
            self._send(b"SUNSUBSCRIBE", channel)

    @property
    def connected(self) -> bool:
        """Whether a link stands."""
        return self._protocol is not None

    # ---- the link ----

    async def _keep_connected(self) -> None:
        delay = _FIRST_DELAY
        while True:
            try:
                protocol = await self._connect()
            except (OSError, TimeoutError):
                await asyncio.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
                delay = min(delay * 2, _MOST_DELAY)
                continue
            delay = _FIRST_DELAY
            try:
                await self._watch(protocol)
            finally:
                self._protocol = None
                self._confirmed.clear()
                protocol.abort()

    async def _connect(self) -> _Subscriber:
        loop = asyncio.get_running_loop()
        options = self._options

        def factory() -> _Subscriber:
            return _Subscriber(self._received)

        async with asyncio.timeout(5):
            if "path" in options:
                _, protocol = await loop.create_unix_connection(factory, options["path"])
            else:
                _, protocol = await loop.create_connection(
                    factory, options.get("host", "localhost"), options.get("port", 6379), ssl=_tls(options)
                )
        self._begin(protocol)
        return protocol

    def _begin(self, protocol: _Subscriber) -> None:
        self.links += 1
        self._protocol = protocol
        if "password" in self._options:
            protocol.send(b"AUTH", self._options.get("username") or "default", self._options["password"])
        wanted = sorted(self._wanted)
        self._outgoing.clear()
        for start in range(0, len(wanted), _BATCH):
            protocol.send(b"SSUBSCRIBE", *wanted[start : start + _BATCH])
        if not wanted:
            self._stands()

    async def _watch(self, protocol: _Subscriber) -> None:
        """Return when the link is lost or has been silent for too long."""
        loop = asyncio.get_running_loop()
        while not protocol.lost.done():
            if loop.time() - protocol.heard_at > _SILENT_SECONDS:
                return
            protocol.send(b"PING")
            await asyncio.wait([protocol.lost], timeout=_PING_SECONDS)

    def _received(self, reply: list[Any]) -> None:
        kind = reply[0]
        if kind == b"smessage":
            self._on_message(reply[1], reply[2])
        elif kind == b"ssubscribe":
            self._confirm(reply[1])
        elif kind == b"sunsubscribe" and reply[1] in self._wanted:
            # The slot moved away, or a late answer to an older wish: ask again.
            self._confirmed.discard(reply[1])
            self._send(b"SSUBSCRIBE", reply[1])

    def _confirm(self, channel: bytes) -> None:
        if channel not in self._wanted:
            return
        all_stood = self._confirmed == self._wanted
        self._confirmed.add(channel)
        waiter = self._waiters.pop(channel, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        if self._confirmed == self._wanted and not all_stood:
            self._stands()

    def _stands(self) -> None:
        """Say once per link that all wanted subscriptions stand."""
        protocol = self._protocol
        if protocol is not None and not protocol.announced:
            protocol.announced = True
            self._on_link()

    def _send(self, verb: bytes, channel: bytes) -> None:
        """Gather what is asked within one turn of the loop into one command per verb."""
        self._outgoing[channel] = verb
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        outgoing, self._outgoing = self._outgoing, {}
        if self._protocol is None:
            return  # the next link subscribes to all that is wanted
        for verb in (b"SUNSUBSCRIBE", b"SSUBSCRIBE"):
            channels = [channel for channel, asked in outgoing.items() if asked == verb]
            for start in range(0, len(channels), _BATCH):
                self._protocol.send(verb, *channels[start : start + _BATCH])


class _Subscriber(asyncio.Protocol):
    """The bytes of one link."""

    def __init__(self, received: Callable[[list[Any]], None]) -> None:
        self._received = received
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self.announced = False
        loop = asyncio.get_running_loop()
        self._time = loop.time
        self.lost: asyncio.Future[None] = loop.create_future()
        self.heard_at = loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment] # a stream protocol is given a Transport

    def data_received(self, data: bytes) -> None:
        self.heard_at = self._time()
        reader = self._reader
        reader.feed(data)
        while (reply := reader.gets()) is not False:
            if isinstance(reply, list):
                self._received(reply)
            elif isinstance(reply, hiredis.ReplyError):
                self.abort()  # AUTH refused, or the server is loading: the next link tries again
                return

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)

    def send(self, *arguments: str | bytes) -> None:
        if self._transport is not None:
            self._transport.write(hiredis.pack_command(arguments))  # type: ignore[arg-type] # its stub says a tuple of one

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class LiveReader:
    """The gateway's Live: subscriptions by response id."""

    def __init__(self, url: str, on_live: OnLive, on_link: Callable[[], None]) -> None:
        self._on_live = on_live
        self._responses: dict[bytes, str] = {}
        self._reader = ChannelReader(url, self._message, on_link)

    def start(self) -> None:
        """Begin to connect."""
        self._reader.start()

    async def close(self) -> None:
        """End the connection."""
        await self._reader.close()

    async def subscribe(self, response_id: str) -> None:
        """Return once the server has confirmed the subscription."""
        channel = keys.channel(response_id).encode()
        self._responses[channel] = response_id
        await self._reader.subscribe(channel)

    def unsubscribe(self, response_id: str) -> None:
        """Stop listening."""
        channel = keys.channel(response_id).encode()
        self._responses.pop(channel, None)
        self._reader.unsubscribe(channel)

    @property
    def connected(self) -> bool:
        """Whether a link stands."""
        return self._reader.connected

    def _message(self, channel: bytes, data: bytes) -> None:
        response_id = self._responses.get(channel)
        if response_id is not None:
            self._on_live(response_id, LiveMessage.parse(data))


def _tls(options: Mapping[str, Any]) -> ssl.SSLContext | None:
    """Return a verifying TLS context for ``rediss://`` (optionally with ``ssl_ca_certs``), else None."""
    if "ssl" not in getattr(options.get("connection_class"), "__name__", "").lower():
        return None
    return ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
