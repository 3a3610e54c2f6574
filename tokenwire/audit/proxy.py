"""A small TCP proxy before the server, one per process: it cuts, swallows, delays, and drops live messages.

It knows just enough of the server's protocol (RESP, as of Redis 6) to tell a subscriber's connection from
the others and one pushed message from the next.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

Dial = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]

_CHUNK = 1 << 16
_SUBSCRIBE = b"SSUBSCRIBE"
_PUSHED = b"*3\r\n$8\r\nsmessage\r\n"


class Proxy:
    """Stands between one process and the server."""

    def __init__(self, dial: Dial, drops: random.Random) -> None:
        self.port = 0
        self.passed = 0
        """Connections that were made."""
        self.dropped = 0
        """Live messages that were left out."""
        self.delay = 0.0
        """Seconds by which every packet is late, both ways."""
        self.drop_share = 0.0
        """Share of the live messages that are left out."""
        self._dial = dial
        self._drops = drops
        self._shut = False
        self._hole = False
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen on a free port of loopback and return it."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_CHUNK)
        self.port = self._server.sockets[0].getsockname()[1]
        return self.port

    async def stop(self) -> None:
        """End every connection."""
        if self._server is not None:
            self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def connections(self) -> int:
        """Connections that stand."""
        return len(self._pairs)

    def cut(self, *, live_only: bool = False) -> int:
        """Reset all connections, or those that carry live messages; return how many."""
        pairs = [pair for pair in self._pairs if pair.live or not live_only]
        for pair in pairs:
            pair.abort()
        return len(pairs)

    def swallow(self) -> None:
        """Let nothing through, without a word, until :meth:`heal`; new connections hang likewise."""
        self._hole = True

    def heal(self) -> None:
        """Reset what was swallowed, and let everything through again."""
        if self._hole:
            self.cut()
        self._hole = False

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):  # either side may go at any time: that is what a proxy passes on
            await self._carry(reader, writer)
        writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await self._dial()
        pair = _Pair(writer, there_writer)
        self._pairs.add(pair)
        self.passed += 1
        up = asyncio.ensure_future(self._pump(reader, there_writer, pair.look))
        down = asyncio.ensure_future(self._pump(there_reader, writer, lambda data: self._thinned(pair, data)))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._pairs.discard(pair)
            pair.abort()
            up.cancel()
            down.cancel()
            await asyncio.gather(up, down, return_exceptions=True)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, through: Callable[[bytes], bytes]
    ) -> None:
        """Carry one direction.  A delayed packet waits; the next one waits behind it only as long as it must."""
        loop = asyncio.get_running_loop()
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        sender: asyncio.Task[None] | None = None
        try:
            while data := await reader.read(_CHUNK):
                data = through(data)
                if self._hole or not data:
                    continue
                if sender is None and not self.delay:
                    writer.write(data)
                    await writer.drain()
                    continue
                late.put_nowait((loop.time() + self.delay, data))
                if sender is None:
                    sender = asyncio.ensure_future(_send_late(late, writer))
        except OSError:
            return
        finally:
            if sender is not None:
                sender.cancel()

    def _thinned(self, pair: _Pair, data: bytes) -> bytes:
        """Leave live messages out; the rest passes as it came."""
        if not pair.live:
            return data
        kept = []
        for value in pair.values.feed(data):
            if self.drop_share and value.startswith(_PUSHED) and self._drops.random() < self.drop_share:
                self.dropped += 1
            else:
                kept.append(value)
        return b"".join(kept)


class _Pair:
    """The two halves of one connection."""

    def __init__(self, here: asyncio.StreamWriter, there: asyncio.StreamWriter) -> None:
        self.live = False
        self.values = Values()
        self._writers = (here, there)

    def look(self, data: bytes) -> bytes:
        """Find out whether this is a subscriber: it says so before anything is pushed to it."""
        if not self.live and _SUBSCRIBE in data:
            self.live = True
        return data

    def abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


async def _send_late(late: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due, data = await late.get()
        await asyncio.sleep(max(0.0, due - loop.time()))
        writer.write(data)


class Values:
    """Cuts a stream of bytes into whole RESP values; pure."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes and return the values that are whole now, each as it came."""
        buffer = self._rest + data
        values: list[bytes] = []
        begin = 0
        while (end := _end_of_value(buffer, begin)) is not None:
            values.append(buffer[begin:end])
            begin = end
        self._rest = buffer[begin:]
        return values


def _end_of_value(buffer: bytes, at: int) -> int | None:
    """Return where the value that begins at ``at`` ends, or None if it is not whole yet."""
    values = 1
    while values:
        line = buffer.find(b"\r\n", at)
        if line < 0:
            return None
        kind, number = buffer[at : at + 1], buffer[at + 1 : line]
        at = line + 2
        values -= 1
        if kind in (b"$", b"=", b"!") and int(number) >= 0:
            at += int(number) + 2
            if at > len(buffer):
                return None
        elif kind in (b"*", b">", b"~"):
            values += max(0, int(number))
        elif kind == b"%":
            values += 2 * int(number)
    return at
