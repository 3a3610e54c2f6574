"""An engine that does what the test says, and a worker's parts around it on a store in memory."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from shared.log import Reason, new_response_id
from shared.observe import make_logger
from shared.request import Message, Request, Sampling
from shared.store.contract import Followed, Leases, Submitted, WorkerInfo
from shared.store.memory import MemoryGatewayStore, MemoryServer, MemoryWorkerStore
from worker.engines.contract import Ended, EngineInfo, Event, OnStep, Order, Piece, Stats
from worker.intake import Intake
from worker.metrics import WorkerMetrics
from worker.publisher import Publisher


class ScriptedEngine:
    """Takes orders and says what the test tells it to."""

    def __init__(self, slots: int = 4) -> None:
        self.info = EngineInfo("model", "build", 1024, slots)
        self.orders: dict[str, Order] = {}
        self.cancelled: list[str] = []
        self.steps = 0
        self.healthy = True
        self.failure = ""
        self.ordered = asyncio.Event()
        self._on_step: OnStep = lambda _events: None

    async def start(self, on_step: OnStep) -> None:
        self._on_step = on_step

    def submit(self, order: Order) -> None:
        self.orders[order.response_id] = order
        self.ordered.set()

    def cancel(self, response_id: str) -> None:
        self.cancelled.append(response_id)

    def stats(self) -> Stats:
        return Stats(self.steps, len(self.orders), 0, 0, 0)

    async def close(self) -> None:
        self.orders.clear()

    def step(self, events: Sequence[Event]) -> None:
        self.steps += 1
        self._on_step(events)

    def say(self, response_id: str, text: str, *ids: int, prompt: int = 0) -> None:
        self.step([Piece(response_id, text, ids, prompt)])

    def end(self, response_id: str, reason: Reason = Reason.STOP) -> None:
        self.step([Ended(response_id, reason)])


@dataclass
class Rig:
    """One worker on a server in memory, whose clock the test moves."""

    time: float = 1000.0
    leases: Leases = field(default_factory=Leases)

    def __post_init__(self) -> None:
        self.server = MemoryServer(lambda: self.time, self.leases)
        self.gateway = MemoryGatewayStore(self.server)
        self.lines = io.StringIO()

    async def worker(self, name: str = "worker-1", slots: int = 4, reserve: int = 0) -> WorkerParts:
        engine = ScriptedEngine(slots)
        store = MemoryWorkerStore(self.server, worker=name, model="model", build="build")
        metrics = WorkerMetrics(CollectorRegistry())
        log = make_logger("worker", self.lines)
        publisher = Publisher(store, engine.cancel, metrics, log, log_bytes=100)
        info = WorkerInfo(name, "model", "build", 1024, slots, reserve=reserve)
        intake = Intake(store, engine, publisher, metrics, log, info=info, leases=self.leases)
        await engine.start(publisher.on_step)
        return WorkerParts(engine, store, publisher, intake, metrics)

    async def submitted(self, **changes: object) -> str:
        fields = {
            "response_id": new_response_id(0),
            "model": "model",
            "principal": "alice",
            "messages": (Message("user", "hello"),),
            "sampling": Sampling(max_tokens=16, seed=1),
        }
        request = Request(**(fields | changes))
        reply = await self.gateway.submit(request, "tab", 64)
        assert isinstance(reply, Submitted)
        return request.response_id

    async def followed(self, response_id: str) -> Followed:
        reply = await self.gateway.follow(response_id, "alice", None, -1, None)
        assert isinstance(reply, Followed)
        return reply

    async def text(self, response_id: str) -> str:
        return "".join(entry.text for entry in (await self.followed(response_id)).entries)


@dataclass
class WorkerParts:
    engine: ScriptedEngine
    store: MemoryWorkerStore
    publisher: Publisher
    intake: Intake
    metrics: WorkerMetrics

    async def claim(self) -> int:
        return await self.intake._claim()

    async def publish(self, rounds: int = 3) -> None:
        for _ in range(rounds):
            await self.publisher._round()
