"""What a Service of Kubernetes does, in small: connections go to pods that are ready, as often as they are asked."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator

from pods import Pod


class Service:
    """A port on loopback that routes each new connection to the next ready gateway."""

    def __init__(self) -> None:
        self.url = ""
        self._gateways: list[tuple[Pod, int]] = []
        self._unready: set[int] = set()
        self._turns = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()

    async def add(self, gateway: Pod) -> None:
        """Route to a gateway from now on, as long as its readiness probe succeeds."""
        port = int(str((await gateway.says("listening"))["port"]))
        self._gateways.append((gateway, port))
        self._start(self._probe(gateway, port))

    async def _probe(self, gateway: Pod, port: int) -> None:
        probe = gateway.container["readinessProbe"]
        failures = 0
        while True:
            try:
                ready = await gateway.answers(probe["httpGet"]["path"]) == 200
            except OSError:
                ready = False
            failures = 0 if ready else failures + 1
            if failures >= probe["failureThreshold"]:
                self._unready.add(port)
            await asyncio.sleep(probe["periodSeconds"])

    async def _route(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ready = [port for _, port in self._gateways if port not in self._unready]
        try:
            upstream = await asyncio.open_connection("127.0.0.1", ready[next(self._turns) % len(ready)])
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, upstream[1]), _copy(upstream[0], writer))

    def _start(self, work) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Service]:
        """Listen until the block ends."""
        server = await asyncio.start_server(
            lambda reader, writer: self._start(self._route(reader, writer)), "127.0.0.1", 0
        )
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
