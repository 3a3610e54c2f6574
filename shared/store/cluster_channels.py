"""Subscriptions in a Cluster: one reader per node, and each channel with the node that holds its slot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from shared.background import background, tell
from shared.store.channels import ChannelReader, OnMessage, Overseer
from shared.store.cluster import Address, SlotMap, Slots, slot_of
from shared.store.confirmations import Confirmations
from shared.store.contract import StoreUnavailable
from shared.store.place import Fixed, Topology, ended

_FIRST_PAUSE, _MOST_PAUSE = 0.05, 1.0


class ClusterChannels:
    """Channels of all nodes.

    A channel is displaced while the node that it is asked of does not serve it: its slot has moved, the node
    is gone, or the map was never read.  Then the map is read, again and again, until it is confirmed somewhere.
    """

    def __init__(
        self, topology: Topology, on_message: OnMessage, on_link: Callable[[], None] = lambda: None
    ) -> None:
        self._map = SlotMap(topology)
        self._on_message = on_message
        self._on_link = on_link
        self._readers: dict[Address, ChannelReader] = {}
        self._homes: dict[bytes, Address | None] = {}
        """All wanted channels, and the node each is asked of."""
        self._confirmations = Confirmations()
        self._displaced: set[bytes] = set()
        self._uneasy = asyncio.Event()
        self._telling = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to connect."""
        self._task = background(self._tend(), "redis-live-cluster")
        self._uneasy.set()

    async def close(self) -> None:
        """End all connections and everybody's wait for them."""
        if self._task is not None:
            await ended(self._task)
        await asyncio.gather(*(reader.close() for reader in self._readers.values()))
        await self._map.close()
        self._confirmations.close()

    @property
    def connected(self) -> bool:
        """Whether a link stands to every node that holds slots."""
        nodes = self._map.nodes()
        return bool(nodes) and all(node in self._readers and self._readers[node].connected for node in nodes)

    def want(self, channels: Iterable[bytes]) -> None:
        """Subscribe without waiting for the confirmation."""
        for channel in channels:
            if channel not in self._homes:
                self._homes[channel] = None
                self._route(channel, self._map.slots)

    async def subscribe(self, channel: bytes) -> None:
        """Return once a node has confirmed the subscription, be it on a later link."""
        self.want([channel])
        await self._confirmations.wait(channel)

    def unsubscribe(self, channel: bytes) -> None:
        """Stop listening."""
        home = self._homes.pop(channel, None)
        self._confirmations.give_up(channel)
        self._displaced.discard(channel)
        if home is not None:
            self._readers[home].unsubscribe(channel)

    # ---- which reader a channel belongs to ----

    async def _tend(self) -> None:
        """Find a node for every displaced channel."""
        pause = _FIRST_PAUSE
        while True:
            if not self._displaced:
                pause = _FIRST_PAUSE
                await self._uneasy.wait()
            self._uneasy.clear()
            try:
                await self._map.read()
                await self._follow_the_map()
            except StoreUnavailable:
                pass  # asked again after the pause
            except Exception as error:  # noqa: BLE001 - whatever it is, the next look must come
                tell("to find the nodes of live channels", error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _MOST_PAUSE)

    async def _follow_the_map(self) -> None:
        """Listen to all nodes that hold slots and to no other, and route what is displaced."""
        self._listen_to_all_nodes()
        gone = set(self._readers) - set(self._map.nodes())
        if stranded := [channel for channel, home in self._homes.items() if home in gone]:
            self._displace(stranded)
        for channel in tuple(self._displaced):
            self._route(channel, self._map.slots)
        for address in gone - set(self._homes.values()):
            await self._readers.pop(address).close()

    def _listen_to_all_nodes(self) -> None:
        for address in self._map.nodes():
            if address not in self._readers:
                overseer = Overseer(self._confirm, self._displace)
                place = Fixed(self._map.options(address))
                reader = ChannelReader(place, self._on_message, self._on_link, overseer)
                self._readers[address] = reader
                reader.start()

    def _route(self, channel: bytes, slots: Slots) -> None:
        """Ask the node that holds the slot for the channel."""
        address, home = slots.get(slot_of(channel)), self._homes[channel]
        if address is None or address not in self._readers:
            self._displace([channel])
            return
        if home is not None and home != address:
            self._readers[home].unsubscribe(channel)
        self._homes[channel] = address
        self._readers[address].want([channel])
        self._readers[address].again(channel)

    def _displace(self, channels: Iterable[bytes]) -> None:
        """Look for a new node for channels that one does not serve any more."""
        for channel in channels:
            if channel in self._homes:
                self._confirmations.lose(channel)
                self._displaced.add(channel)
        self._uneasy.set()

    def _confirm(self, channel: bytes) -> None:
        if channel not in self._homes:
            return
        self._confirmations.add(channel)
        if channel in self._displaced:
            self._displaced.discard(channel)
            self._tell_soon()

    def _tell_soon(self) -> None:
        """Say once for all that were confirmed in one turn that messages may have been missed."""
        if not self._telling:
            self._telling = True
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._telling = False
        self._on_link()
