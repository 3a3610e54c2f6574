"""Many links to the nodes of a Cluster, used as one server.

A command goes to the node that holds the slot of its key.  Nodes say when a slot lies elsewhere (MOVED) or is
on its way (ASK, TRYAGAIN); the map is then read anew.  Commands that are bound to a link are never sent
elsewhere: their caller must ask first what the other node knows.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from redis.crc import key_slot

from shared.background import background, tell
from shared.store.call import Elsewhere, ServerError, Unsettled
from shared.store.codec import text_of
from shared.store.contract import StoreUnavailable
from shared.store.keys import WORKERS
from shared.store.link import Link, Seen, WrongLink
from shared.store.place import Fixed, Options, Topology
from shared.store.scripts import Script

Address = tuple[str, int]
Slots = Mapping[int, Address]

_PAUSES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds before each further try of a command that was not done because its slot moves."""


def slot_of(key: str | bytes) -> int:
    """Return the slot of a key or of a sharded channel."""
    return key_slot(key.encode() if isinstance(key, str) else key)


class SlotMap:
    """Which node holds which slot, as the nodes say; asked of any that answers."""

    def __init__(self, topology: Topology, *, timeout: float = 5.0, seen: Seen = lambda _: None) -> None:
        self.slots: Slots = {}
        self.version = 0
        """Grows with every change."""
        self._seeds = {
            (options["host"], int(options.get("port", 6379))): options for options in topology.hosts
        }
        self._options = topology.hosts[0]
        self._timeout = timeout
        self._seen = seen
        self._links: dict[Address, Link] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._reading: asyncio.Task[None] | None = None

    def link(self, address: Address) -> Link:
        """Return the link to a node."""
        found = self._links.get(address)
        if found is None:
            place = Fixed(self.options(address))
            found = self._links[address] = Link(place, timeout=self._timeout, seen=self._seen)
        return found

    def options(self, address: Address) -> Options:
        """Return what a connection to a node is made from."""
        return {**self._seeds.get(address, self._options), "host": address[0], "port": address[1]}

    def nodes(self) -> Sequence[Address]:
        """Return all nodes that hold slots."""
        return sorted(set(self.slots.values()))

    async def known(self) -> Slots:
        """Return the map, and read it first if it never was.  Raises StoreUnavailable."""
        if not self.slots:
            await self.read()
        return self.slots

    async def read(self) -> None:
        """Read the map anew; callers at the same time share one reading.  Raises StoreUnavailable."""
        self.read_soon()
        if self._reading is not None:
            await asyncio.shield(self._reading)

    def read_soon(self) -> None:
        """Begin to read the map anew, unless that is on its way."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(), name="redis-slots")
            self._reading.add_done_callback(_forget)

    def moved(self, slot: int, address: Address) -> None:
        """Believe a node that says where a slot lies now."""
        self._take({**self.slots, slot: address})

    async def close(self) -> None:
        """Close all links."""
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError, StoreUnavailable):
                await self._reading
        await asyncio.gather(*self._closing, *(link.close() for link in self._links.values()))

    async def _read(self) -> None:
        """Ask all nodes at once and take the first answer: one that hangs holds nobody up."""
        asked = [
            asyncio.create_task(self._ask(address))
            for address in dict.fromkeys((*self.nodes(), *self._seeds))
        ]
        problem = "no node of the Cluster answers"
        try:
            for answer in asyncio.as_completed(asked):
                try:
                    self._take(await answer)
                    self._let_go()
                except (StoreUnavailable, ServerError) as error:
                    problem = str(error)
                else:
                    return
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        raise StoreUnavailable(problem)

    async def _ask(self, address: Address) -> Slots:
        reply = await self.link(address).command("CLUSTER", "SLOTS")
        slots = {
            slot: (text_of(node[0] or address[0]), int(node[1]))
            for first, last, node, *_ in reply
            for slot in range(first, last + 1)
        }
        if not slots:
            raise StoreUnavailable("the node knows no slots")
        return slots

    def _take(self, slots: Slots) -> None:
        if slots != self.slots:
            self.slots = slots
            self.version += 1

    def _let_go(self) -> None:
        """Close the links to nodes that hold no slots any more; what is on its way there is still answered."""
        for address in self._links.keys() - set(self.nodes()) - self._seeds.keys():
            task = background(_close_when_idle(self._links.pop(address)), "redis-link-closing")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


class Cluster:
    """A :class:`Server` made of one link per node."""

    def __init__(self, topology: Topology, *, timeout: float = 5.0, seen: Seen = lambda _: None) -> None:
        self._map = SlotMap(topology, timeout=timeout, seen=seen)
        self._state: tuple[int, ...] = ()
        self._number = 0

    @property
    def number(self) -> int:
        """Grows when any node's connection is a new one, and when a slot has moved.

        So a number stands for one connection per node and one map: what is bound to it goes out on the very
        connection that was asked.
        """
        state = (self._map.version, *(self._map.link(node).number for node in self._map.nodes()))
        if state != self._state:
            self._state = state
            self._number += 1
        return self._number

    async def command(self, *arguments: Any, key: str | None = None, link: int | None = None) -> Any:
        """Send one command to the node of ``key``, by default its second argument."""
        if key is None:
            key = str(arguments[1]) if len(arguments) > 1 else WORKERS
        return await self._send(
            slot_of(key),
            lambda node, number: node.command(*arguments, link=number),
            lambda node: node.asking(arguments),
            link,
        )

    async def script(
        self, script: Script, keys: tuple[str, ...], *arguments: Any, link: int | None = None
    ) -> Any:
        """Run a script at the node of its keys."""
        whole = ("EVALSHA", script.sha, len(keys), *keys, *arguments)
        return await self._send(
            slot_of(keys[0]),
            lambda node, number: node.script(script, keys, *arguments, link=number),
            lambda node: node.asking(whole, script),
            link,
        )

    async def primaries(self) -> Sequence[Link]:
        """Return the links to all nodes that hold slots."""
        await self._map.known()
        return [self._map.link(address) for address in self._map.nodes()]

    async def close(self) -> None:
        """Close all links."""
        await self._map.close()

    async def _send(
        self,
        slot: int,
        send: Callable[[Link, int | None], Awaitable[Any]],
        ask: Callable[[Link], Awaitable[Any]],
        number: int | None,
    ) -> Any:
        if number is not None:
            return await self._send_bound(slot, send, number)
        problem: StoreUnavailable = StoreUnavailable("no node holds this slot now")
        for pause in _PAUSES:
            await asyncio.sleep(pause)
            address = (await self._map.known()).get(slot)
            try:
                if address is not None:
                    return await send(self._map.link(address), None)
            except Elsewhere as elsewhere:
                problem = elsewhere
                if elsewhere.asking:
                    with contextlib.suppress(Elsewhere, Unsettled):
                        return await ask(self._map.link(elsewhere.address))
                    continue
                self._map.moved(slot, elsewhere.address)
            except Unsettled as unsettled:
                problem = unsettled
                self._map.read_soon()
            except StoreUnavailable:
                self._map.read_soon()  # a replica may stand in by now
                raise
        raise problem

    async def _send_bound(
        self, slot: int, send: Callable[[Link, int | None], Awaitable[Any]], number: int
    ) -> Any:
        address = self._map.slots.get(slot)
        if number != self.number or address is None:
            raise WrongLink("a connection or the map of slots has changed")
        node = self._map.link(address)
        try:
            return await send(node, node.number)
        except StoreUnavailable as problem:
            if isinstance(problem, Elsewhere) and not problem.asking:
                self._map.moved(slot, problem.address)
            else:
                self._map.read_soon()
            raise


async def _close_when_idle(link: Link) -> None:
    await link.idle()
    await link.close()


def _forget(task: asyncio.Task[None]) -> None:
    """Take note of a reading that nobody may wait for."""
    if not task.cancelled() and not isinstance(error := task.exception(), StoreUnavailable | None):
        tell("to read the map of slots", error)
