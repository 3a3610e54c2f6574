"""A gateway on a free port of loopback, a worker moved by hand, and a client that reads events."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import httpx2 as httpx
from openai import AsyncOpenAI
from prometheus_client import CollectorRegistry
from websockets.asyncio.client import ClientConnection, connect

from gateway.app import Gateway
from gateway.hub import Pace
from gateway.render import DELTA
from gateway.settings import GatewaySettings
from shared.log import PROLOGUE, Reason, escape
from shared.observe import make_logger
from shared.store.access import Access
from shared.store.contract import Append, Claim, GatewayStore, Live, WorkerInfo, WorkerStore
from shared.store.memory import MemoryGatewayStore, MemoryLive, MemoryServer, MemoryWorkerStore
from shared.store.meters import Meters

PATIENCE = 40.0
"""Seconds after which a test that waits for an event fails."""

PACE = Pace(tick=0.02, silence=0.1, refresh=1.0, again=0.02, subscribe=0.5)


async def until(ask: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until something is true that no event tells of."""
    async with asyncio.timeout(seconds):
        while not ask():  # noqa: ASYNC110 - that is what it is for
            await asyncio.sleep(0.005)


class Client:
    """A WebSocket client that speaks raw events."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.close_code: int | None = None

    async def send(self, **message: object) -> None:
        await self.connection.send(json.dumps(message))

    async def create(self, text: str = "Hello", **fields: object) -> None:
        await self.send(type="response.create", input=text, **fields)

    async def event(self) -> dict:
        async with asyncio.timeout(PATIENCE):
            return json.loads(await self.connection.recv())

    async def until(self, kind: str) -> list[dict]:
        """Read up to and including the first event of a type."""
        events = [await self.event()]
        while events[-1]["type"] != kind:
            events.append(await self.event())
        return events

    async def closed(self) -> int:
        """Wait for the close and return its code."""
        async with asyncio.timeout(PATIENCE):
            await self.connection.wait_closed()
        return self.connection.close_code


def text_of(events: list[dict]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


def assert_contiguous(events: list[dict], first: int = 0) -> None:
    """Check that each event starts where the one before ended."""
    at = first
    for event in events:
        assert event.get("first_sequence_number", event["sequence_number"]) == at
        at = event["sequence_number"] + 1


def assert_goes_on(events: list[dict], after: int, whole: list[dict], texts: Sequence[str]) -> None:
    """Check that ``events`` are those of ``whole`` numbered beyond ``after``; its deltas were ``texts``.

    Deltas may be joined, so they are compared by their numbers and their text.
    """
    assert_contiguous(events, after + 1)
    assert text_of(events) == "".join(texts[max(0, after + 1 - PROLOGUE) :])
    assert [each for each in events if each["type"] != DELTA] == [
        each for each in whole if each["type"] != DELTA and each["sequence_number"] > after
    ]


@dataclass
class Hand:
    """A worker whose every step the test takes."""

    store: WorkerStore
    info: WorkerInfo
    upto: dict[str, int] = field(default_factory=dict)

    async def announce(self) -> None:
        await self.store.announce(self.info)

    async def claim(self) -> Claim:
        """Wait for a request and claim it."""
        async with asyncio.timeout(PATIENCE):
            while True:
                claims = await self.store.claim(1, lambda: True)
                if claims:
                    self.upto[claims[0].response_id] = claims[0].upto
                    return claims[0]
                await self.store.bell(0.05)

    async def say(self, claim: Claim, *texts: str) -> None:
        """Append deltas, one by one."""
        for text in texts:
            upto = self.upto[claim.response_id] = self.upto[claim.response_id] + 1
            prompt = 3 if upto == claim.upto + 1 else 0
            append = Append(claim.response_id, claim.epoch, upto, escape(text), (upto,), prompt)
            await self.store.append([append])

    async def finish(self, claim: Claim, reason: Reason = Reason.STOP, message: str = "") -> None:
        await self.store.finish(claim, self.upto[claim.response_id], reason, message)

    async def answer(self, *texts: str) -> Claim:
        """Serve the next request from claim to ending."""
        claim = await self.claim()
        await self.say(claim, *texts)
        await self.finish(claim)
        return claim


@dataclass
class Bench:
    """Everything a test of the door needs."""

    gateway: Gateway
    hand: Hand
    registry: CollectorRegistry
    logged: io.StringIO
    store: GatewayStore
    server: MemoryServer | None = None

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.gateway.port}"

    @contextlib.asynccontextmanager
    async def client(self, query: str = "", **options: object) -> AsyncIterator[Client]:
        url = f"ws://{self.authority}/v1/responses{query}"
        async with connect(url, compression=None, **options) as connection:
            yield Client(connection)

    @contextlib.asynccontextmanager
    async def sdk(self) -> AsyncIterator[AsyncOpenAI]:
        async with AsyncOpenAI(base_url=f"http://{self.authority}/v1", api_key="x", max_retries=0) as client:
            yield client

    @contextlib.asynccontextmanager
    async def http(self) -> AsyncIterator[httpx.AsyncClient]:
        async with httpx.AsyncClient(base_url=f"http://{self.authority}", timeout=PATIENCE) as client:
            yield client

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"tokenwire_{name}", labels) or 0.0

    def lines(self, event: str) -> list[dict]:
        lines = map(json.loads, self.logged.getvalue().splitlines())
        return [line for line in lines if line["event"] == event]


@contextlib.asynccontextmanager
async def opened(
    store: GatewayStore,
    worker: WorkerStore,
    make_live: Callable[[Gateway], Live],
    server: MemoryServer | None = None,
    *,
    access: Access | None = None,
    meters: Meters | None = None,
    **changes: object,
) -> AsyncIterator[Bench]:
    """Open a gateway, and close it after the test without a task or a viewer left."""
    settings = GatewaySettings(**({"port": 0, "drain_seconds": 0.0} | changes))
    registry, logged = CollectorRegistry(), io.StringIO()
    info = WorkerInfo("worker-1", "tiny", "build", 512, 4, created=1_700_000_000)
    hand = Hand(worker, info)
    await hand.announce()
    gateway = Gateway(
        settings, store, make_logger("gateway", logged), registry, pace=PACE, access=access, meters=meters
    )
    await gateway.start(make_live(gateway))
    bench = Bench(gateway, hand, registry, logged, store, server)
    try:
        yield bench
    finally:
        await gateway.stop()
    assert not list(gateway.hub.attachments)
    assert bench.metric("attachments") == 0
    for failure in ("task_failed", "step_failed"):
        assert not bench.lines(failure), bench.lines(failure)


@contextlib.asynccontextmanager
async def in_memory(**changes: object) -> AsyncIterator[Bench]:
    """Open a gateway over the store in memory."""
    server = MemoryServer(time.time)
    worker = MemoryWorkerStore(server, worker="worker-1", model="tiny", build="build")
    store = MemoryGatewayStore(server)
    async with opened(
        store, worker, lambda gateway: MemoryLive(server, gateway.hub.on_live), server, **changes
    ) as bench:
        yield bench


@contextlib.asynccontextmanager
async def dialled(bench, **options):
    """A bare TCP connection; the peer may have cut it by the end."""
    if not options:
        options = {"host": "127.0.0.1", "port": bench.gateway.port}
    reader, writer = await asyncio.open_connection(**options)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def rest_of(reader):
    """Read to the end, be it a clean one or a cut."""
    received = b""
    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(ConnectionResetError):
            while piece := await reader.read(1000):
                received += piece
    return received


def slow_socket(port):
    """A client's socket with a small window, so that little is taken unasked."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", port))
    raw.setblocking(False)
    return raw
