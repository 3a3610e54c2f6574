"""A gateway and workers as tasks of the test, on a server that the test strikes; and viewers that take notes."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

from gateway_bench import PACE, assert_contiguous, text_of
from prometheus_client import CollectorRegistry
from websockets.asyncio.client import connect as dial

from gateway.app import Gateway
from gateway.auth import DEVELOPER
from gateway.settings import GatewaySettings
from shared.log import PROLOGUE, new_response_id, unescape
from shared.observe import make_logger
from shared.request import Message, Request, Sampling
from shared.store.connect import connect
from shared.store.contract import Followed, Leases
from shared.store.gateway import RedisGatewayStore
from shared.store.link import Server
from shared.store.live import LiveReader
from worker.app import serve
from worker.engines.echo import words
from worker.settings import WorkerSettings

PROMPT = "one two three four five six seven "
TERMINAL = ("response.completed", "response.incomplete", "response.failed")
PATIENCE = 40.0
"""Seconds after which a test that waits for an answer fails; a failover takes some."""


def expected(tokens: int) -> str:
    """What the echo engine says, undisturbed."""
    vocabulary = words(PROMPT)
    return "".join(vocabulary[n % len(vocabulary)] for n in range(tokens))


@dataclass
class Viewer:
    """One client with one answer, and all that it was shown."""

    tokens: int
    events: list[dict] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    @property
    def response_id(self) -> str:
        return self.events[0]["response"]["id"]

    @property
    def deltas(self) -> int:
        """How many entries of text were shown, also where several were joined into one event."""
        shown = [e["sequence_number"] for e in self.events if e["type"] == "response.output_text.delta"]
        return shown[-1] - PROLOGUE + 1 if shown else 0

    @property
    def ended(self) -> bool:
        return bool(self.events) and self.events[-1]["type"] in (*TERMINAL, "error")

    async def until(self, ask) -> None:
        """Wait until something is true of what was shown."""
        async with asyncio.timeout(PATIENCE):
            while not ask():
                assert self.task is None or not self.task.done() or ask(), self.events[-3:]
                self.changed.clear()
                await self.changed.wait()

    async def saw(self, deltas: int) -> None:
        """Wait until so much was shown, or all of it."""
        await self.until(lambda: self.deltas >= deltas or self.ended)

    async def saw_more(self, deltas: int = 1) -> None:
        """Wait until more comes than was shown so far, or the ending."""
        await self.saw(self.deltas + deltas)

    async def end(self) -> dict:
        """Wait for the ending and return it."""
        await self.until(lambda: self.ended)
        return self.events[-1]

    async def ends_exactly(self) -> None:
        """Wait for the ending, and find everything once and in order."""
        last = await self.end()
        assert last["type"] == "response.incomplete", last
        assert last["response"]["usage"]["output_tokens"] == self.tokens
        assert_contiguous(self.events)
        assert text_of(self.events) == expected(self.tokens)

    async def watch(self, port: int) -> None:
        """Ask for an answer."""
        await self._talk(
            port,
            {"type": "response.create", "model": "echo", "input": PROMPT, "max_output_tokens": self.tokens},
        )

    async def resume(self, port: int, response_id: str) -> None:
        """Read an answer from its beginning."""
        await self._talk(port, {"type": "response.resume", "response_id": response_id, "starting_after": -1})

    async def _talk(self, port: int, message: dict[str, object]) -> None:
        async with dial(f"ws://127.0.0.1:{port}/v1/responses", compression=None) as connection:
            await connection.send(json.dumps(message))
            while not self.ended:
                try:
                    self.events.append(json.loads(await connection.recv()))
                finally:
                    self.changed.set()


@dataclass
class Whole:
    """The two tiers on one server."""

    url: str
    partitions: int
    gateway: Gateway
    store: RedisGatewayStore
    server: Server
    live: LiveReader
    lines: io.StringIO
    attachment: float
    workers: dict[str, tuple[asyncio.Task[None], asyncio.Event]] = field(default_factory=dict)
    viewers: list[Viewer] = field(default_factory=list)

    def start(self, name: str, *, url: str = "", **settings: object) -> None:
        """Start a worker."""
        stop = asyncio.Event()
        made = WorkerSettings(
            redis_url=url or self.url,
            partitions=self.partitions,
            name=name,
            probe_port=0,
            attachment_seconds=self.attachment,
            **(
                {"engine": "echo", "echo_rate": 50, "slots": 64, "lease_seconds": 1.5, "drain_seconds": 1}
                | settings
            ),
        )
        task = asyncio.create_task(serve(made, stop, make_logger("worker", self.lines, worker=name)))
        self.workers[name] = (task, stop)

    async def kill(self, name: str) -> None:
        """End a worker without a drain."""
        task, _ = self.workers.pop(name)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    def view(self, tokens: int = 100) -> Viewer:
        """Ask for an answer and watch it."""
        viewer = Viewer(tokens)
        viewer.task = asyncio.create_task(viewer.watch(self.gateway.port))
        self.viewers.append(viewer)
        return viewer

    async def views(self, count: int, tokens: int = 100, deltas: int = 5) -> list[Viewer]:
        """Ask for answers and wait until all of them run."""
        viewers = [self.view(tokens) for _ in range(count)]
        await asyncio.gather(*(viewer.saw(deltas) for viewer in viewers))
        return viewers

    async def log_of(self, response_id: str) -> Followed:
        reply = await self.store.follow(response_id, DEVELOPER.name, None, -1, None)
        assert isinstance(reply, Followed), reply
        return reply

    async def all_end_exactly(self) -> None:
        """Wait for every ending; what was shown is what the engine says and what the log holds."""
        await asyncio.gather(*(viewer.ends_exactly() for viewer in self.viewers))
        for viewer in self.viewers:
            log = await self.log_of(viewer.response_id)
            assert unescape("".join(entry.text for entry in log.entries)) == expected(viewer.tokens)

    def logged(self, event: str) -> list[dict]:
        lines = map(json.loads, self.lines.getvalue().splitlines())
        return [line for line in lines if line["event"] == event]


@contextlib.asynccontextmanager
async def whole(
    url: str,
    *,
    partitions: int = 1,
    workers: int = 1,
    gateway_url: str = "",
    patience: float = 5.0,
    attachment: float = 25.0,
    keep: float = 30.0,
) -> AsyncIterator[Whole]:
    """Run a gateway and workers on a server; they are ready when the block begins."""
    leases = Leases(lease=1.5, attachment=attachment)
    lines = io.StringIO()
    server = connect(gateway_url or url, timeout=patience)
    for link in await server.primaries():
        await link.command("FLUSHALL")
    store = RedisGatewayStore(server, name="gateway", partitions=partitions, leases=leases)
    settings = GatewaySettings(port=0, drain_seconds=0.0, keep_seconds=keep)
    pace = replace(PACE, refresh=min(PACE.refresh, 0.4 * attachment))
    gateway = Gateway(settings, store, make_logger("gateway", lines), CollectorRegistry(), pace=pace)
    live = LiveReader(gateway_url or url, gateway.hub.on_live, gateway.hub.on_link)
    live.start()
    await gateway.start(live)
    made = Whole(url, partitions, gateway, store, server, live, lines, attachment)
    try:
        for n in range(1, workers + 1):
            made.start(f"worker-{n}")
        async with asyncio.timeout(PATIENCE):
            while sum(each.alive for each in await store.workers()) < workers:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.02)  # an announcement gives no sign
        await gateway._round()
        yield made
    finally:
        for viewer in made.viewers:
            viewer.task.cancel()
        await asyncio.gather(*(viewer.task for viewer in made.viewers), return_exceptions=True)
        for task, stop in made.workers.values():
            stop.set()
            await asyncio.wait([task], timeout=10)
        await gateway.stop()
        await live.close()
        await server.close()
    for task, _ in made.workers.values():
        task.result()
    for failure in ("task_failed", "step_failed"):
        assert not made.logged(failure), made.logged(failure)


def request(partition: int = 0, **changes: object) -> Request:
    """A request for tests that need no gateway."""
    fields: dict[str, object] = {
        "response_id": new_response_id(partition),
        "model": "model",
        "principal": "alice",
        "messages": (Message("user", "Hello"),),
        "sampling": Sampling(max_tokens=16, seed=7),
        "keep": -1.0,
    }
    return Request(**(fields | changes))
