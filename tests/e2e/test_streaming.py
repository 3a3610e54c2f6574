"""That tokens leave while the model computes, and that Stop stops it, proved by the engine's own steps."""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest
from openai import AsyncOpenAI
from prometheus_client import CollectorRegistry
from store_bench import eventually

from gateway.app import Gateway
from gateway.settings import GatewaySettings
from shared.observe import make_logger
from shared.store.gateway import RedisGatewayStore
from shared.store.link import Link
from shared.store.live import LiveReader
from worker.app import operate
from worker.engine_thread import EngineThread
from worker.engines.contract import Admit, Engine, Event, Order, Stats, Stepper
from worker.engines.transformers.engine import TransformersEngine
from worker.settings import WorkerSettings

pytestmark = pytest.mark.model


class Gated:
    """A stepper that takes no more steps than the test allows."""

    def __init__(self, inner: Stepper) -> None:
        self.info = inner.info
        self._inner = inner
        self._allowed = threading.Semaphore(0)
        self._open = threading.Event()

    def allow(self, steps: int) -> None:
        self._allowed.release(steps)

    def open(self) -> None:
        self._open.set()
        self._allowed.release()

    @property
    def busy(self) -> bool:
        return self._inner.busy

    def prepare(self, order: Order) -> Admit:
        return self._inner.prepare(order)

    def cancel(self, response_id: str) -> None:
        self._inner.cancel(response_id)

    def step(self) -> Sequence[Event]:
        if not self._open.is_set():
            self._allowed.acquire()
        return self._inner.step()

    def stats(self) -> Stats:
        return self._inner.stats()

    def close(self) -> None:
        self._inner.close()


@dataclass
class Path:
    """A gateway and a worker in this process, on a real server, with the real model behind a gate."""

    gate: Gated
    engine: Engine
    client: AsyncOpenAI


@pytest.fixture
async def path(valkey: str, small_model_dir) -> AsyncIterator[Path]:
    async with contextlib.AsyncExitStack() as stack:
        link = Link.to(valkey)
        stack.push_async_callback(link.close)
        await link.command("FLUSHALL")
        log = make_logger("test", io.StringIO())
        settings = WorkerSettings(redis_url=valkey, name="worker-1", probe_port=0, model=str(small_model_dir))
        gate = Gated(TransformersEngine.start(settings.transformers(lambda _line: None)))
        engine = EngineThread(lambda: gate)
        stop = asyncio.Event()
        working = asyncio.create_task(operate(engine, settings, stop, log))
        stack.push_async_callback(_stopped, working, stop, gate)
        store = RedisGatewayStore(link, name="gateway")

        async def announced():
            return await store.workers()

        await eventually(announced, 30)
        gateway = Gateway(GatewaySettings(port=0), store, log, CollectorRegistry())
        live = LiveReader(valkey, gateway.hub.on_live, gateway.hub.on_link)
        live.start()
        stack.push_async_callback(live.close)
        await gateway.start(live)
        stack.push_async_callback(gateway.stop)
        client = AsyncOpenAI(base_url=f"http://127.0.0.1:{gateway.port}/v1", api_key="any")
        stack.push_async_callback(client.close)
        yield Path(gate, engine, client)
        gate.open()


async def _stopped(working: asyncio.Task[None], stop: asyncio.Event, gate: Gated) -> None:
    gate.open()
    stop.set()
    await asyncio.wait_for(working, 30)


async def test_the_first_delta_is_on_the_socket_before_the_third_step(path: Path):
    async with path.client.responses.connect() as connection:
        await connection.send(
            {"type": "response.create", "input": "Hello", "max_output_tokens": 8, "temperature": 0}
        )
        path.gate.allow(2)
        async for event in connection:
            if event.type == "response.output_text.delta":
                break

        assert event.delta
        assert path.engine.stats().steps <= 2
        path.gate.open()


async def test_a_stop_after_five_deltas_of_four_hundred_tokens_ends_it_before_step_fifteen(path: Path):
    async with path.client.responses.connect() as connection:
        await connection.send(
            {
                "type": "response.create",
                "input": "Write a long story.",
                "max_output_tokens": 400,
                "temperature": 0,
            }
        )
        path.gate.allow(8)
        deltas = 0
        async for event in connection:
            deltas += event.type == "response.output_text.delta"
            if deltas == 5:
                await connection.send({"type": "response.cancel"})
                deltas = 6
            if event.type == "response.incomplete":
                break

    assert event.response.status == "cancelled"
    path.gate.open()

    async def idle():
        stats = path.engine.stats()
        return stats.running + stats.waiting == 0

    await eventually(idle, 30)
    assert path.engine.stats().steps < 15
