"""Sharded Pub/Sub: one subscriber connection per process and server.

Here every new link is said aloud, since whatever was published between two links has been missed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from redis.crc import key_slot
from redis.exceptions import RedisError

from shared.background import background, tell
from shared.store.confirmations import Confirmations
from shared.store.place import Options, Place, ended
from shared.store.subscriber import Subscriber, open_subscriber

OnMessage = Callable[[bytes, bytes], None]
_BATCH = 512
"""Channels in one SSUBSCRIBE."""
_PING_SECONDS = 5.0
_SILENT_SECONDS = 15.0
_FIRST_DELAY, _MOST_DELAY = 0.05, 2.0


class Channels(Protocol):
    """Subscriptions to sharded channels, which come back by themselves.

    They are made with two callbacks: ``on_message(channel, data)`` for each message, in the order of the
    link, and ``on_link()`` when subscriptions stand again and messages may have been missed before.
    """

    @property
    def connected(self) -> bool:
        """Whether a link stands to every server that is listened to."""

    def start(self) -> None:
        """Begin to connect."""

    async def close(self) -> None:
        """End the connection and everybody's wait for it."""

    def want(self, channels: Iterable[bytes]) -> None:
        """Subscribe without waiting for the confirmation."""

    async def subscribe(self, channel: bytes) -> None:
        """Return once the server has confirmed the subscription, be it on a later link."""

    def unsubscribe(self, channel: bytes) -> None:
        """Stop listening."""


@dataclass(frozen=True, slots=True)
class Overseer:
    """Who looks after one of a Cluster's readers, and decides which reader a channel belongs to."""

    confirmed: Callable[[bytes], None]
    displaced: Callable[[Iterable[bytes]], None]
    """The server does not serve these channels any more, or the link to it is lost."""


class ChannelReader:
    """Channels of one server over one connection."""

    def __init__(
        self,
        place: Place,
        on_message: OnMessage,
        on_link: Callable[[], None] = lambda: None,
        overseer: Overseer | None = None,
    ) -> None:
        self.links = 0
        self._place = place
        self._overseer = overseer
        self._on_message = on_message
        self._on_link = on_link
        self._wanted: set[bytes] = set()
        self._confirmations = Confirmations()
        self._outgoing: dict[bytes, bytes] = {}
        self._flushing = False
        self._protocol: Subscriber | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to connect."""
        self._task = background(self._keep_connected(), "redis-live")

    async def close(self) -> None:
        """End the connection and everybody's wait for it."""
        if self._task is not None:
            await ended(self._task)
        self._confirmations.close()

    def want(self, channels: Iterable[bytes]) -> None:
        """Subscribe without waiting for the confirmation."""
        for channel in channels:
            if channel not in self._wanted:
                self._wanted.add(channel)
                self._send(b"SSUBSCRIBE", channel)

    async def subscribe(self, channel: bytes) -> None:
        """Return once the server has confirmed the subscription, be it on a later link."""
        self.want([channel])
        await self._confirmations.wait(channel)

    def again(self, channel: bytes) -> None:
        """Ask for a channel once more that the server has let go."""
        if channel in self._wanted and channel not in self._confirmations.standing:
            self._send(b"SSUBSCRIBE", channel)

    def unsubscribe(self, channel: bytes) -> None:
        """Stop listening."""
        if channel in self._wanted:
            self._wanted.discard(channel)
            self._confirmations.give_up(channel)
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
                protocol, options = await self._connect()
                delay = _FIRST_DELAY
                await self._hold(protocol, options)
                continue
            except (OSError, TimeoutError, RedisError):
                pass  # tried again below; who wants to know asks `connected`
            except Exception as error:  # noqa: BLE001 - whatever it is, the next try must come
                tell("the link for live messages", error)
            self._tell_displaced(self._wanted)
            await asyncio.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
            delay = min(delay * 2, _MOST_DELAY)

    async def _hold(self, protocol: Subscriber, options: Options) -> None:
        """Return when the link is lost, and let go of all that stood on it."""
        try:
            await self._watch(protocol, options)
        finally:
            self._protocol = None
            self._confirmations.lose_all()
            protocol.abort()
            self._tell_displaced(self._wanted)

    async def _connect(self) -> tuple[Subscriber, Options]:
        async with asyncio.timeout(5):
            options = await self._place.find()
            protocol = await open_subscriber(options, self._received, self._refused)
        self._begin(protocol)
        return protocol, options

    def _begin(self, protocol: Subscriber) -> None:
        self.links += 1
        self._protocol = protocol
        if self._place.moves:
            protocol.send(b"ROLE")
        wanted = sorted(self._wanted)
        self._outgoing.clear()
        for batch in _batches(wanted):
            protocol.send(b"SSUBSCRIBE", *batch)
        if not wanted:
            self._stands()

    async def _watch(self, protocol: Subscriber, options: Options) -> None:
        """Return when the link is lost, has been silent for too long, or leads to a former primary."""
        loop = asyncio.get_running_loop()
        while not protocol.lost.done():
            if loop.time() - protocol.heard_at > _SILENT_SECONDS:
                return
            protocol.send(b"PING")
            await asyncio.wait([protocol.lost], timeout=_PING_SECONDS)
            if self._place.moves and await self._has_moved(options):
                return

    async def _has_moved(self, options: Options) -> bool:
        try:
            return await self._place.find() != options
        except (OSError, TimeoutError, RedisError):
            return False  # nobody knows better

    def _received(self, reply: list[Any]) -> None:
        kind = reply[0]
        if kind == b"smessage":
            self._on_message(reply[1], reply[2])
        elif kind == b"ssubscribe":
            self._confirm(reply[1])
        elif kind == b"sunsubscribe" and reply[1] in self._wanted:
            # The slot moved away, or a late answer to an older wish: ask again.
            self._confirmations.lose(reply[1])
            if self._overseer is None:
                self._send(b"SSUBSCRIBE", reply[1])
            else:
                self._tell_displaced([reply[1]])
        elif kind == b"slave" and self._protocol is not None:
            self._protocol.abort()  # Sentinel names it already, but it is not the primary yet

    def _refused(self, error: str) -> bool:
        """Say whether an error is a Cluster's way to say that channels are served elsewhere."""
        if self._overseer is None or not error.startswith(("MOVED ", "ASK ", "CLUSTERDOWN", "TRYAGAIN")):
            return False
        unserved = self._wanted - self._confirmations.standing
        if error.startswith(("MOVED ", "ASK ")):
            slot = int(error.split(" ")[1])
            unserved = {channel for channel in unserved if key_slot(channel) == slot}
        self._tell_displaced(unserved)
        return True

    def _tell_displaced(self, channels: Iterable[bytes]) -> None:
        if self._overseer is not None:
            self._overseer.displaced(tuple(channels))

    def _confirm(self, channel: bytes) -> None:
        if channel not in self._wanted:
            return
        all_stood = self._confirmations.standing == self._wanted
        self._confirmations.add(channel)
        if self._overseer is not None:
            self._overseer.confirmed(channel)
        if self._confirmations.standing == self._wanted and not all_stood:
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
            for batch in _batches(channels):
                self._protocol.send(verb, *batch)


def _batches(channels: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Split into commands: each within one slot, for a Cluster refuses others, and none too long."""
    by_slot: dict[int, list[bytes]] = {}
    for channel in channels:
        by_slot.setdefault(key_slot(channel), []).append(channel)
    for same in by_slot.values():
        for start in range(0, len(same), _BATCH):
            yield same[start : start + _BATCH]
