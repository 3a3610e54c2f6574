"""Builds one worker from its settings, runs it, and takes it down in order."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from importlib.metadata import version

from prometheus_client import CollectorRegistry

from shared.background import background, log_failures
from shared.observe import Log, Probes, address, watch_lateness
from shared.otlp import exported
from shared.store.check import Watchman
from shared.store.connect import connect
from shared.store.contract import WorkerInfo
from shared.store.link import Server
from shared.store.place import parse
from shared.store.worker import RedisWorkerStore
from shared.trace import Record
from worker.engines.contract import Engine, EngineError, Event
from worker.engines.registry import make_engine
from worker.intake import Intake
from worker.metrics import WorkerMetrics
from worker.publisher import Publisher
from worker.settings import WorkerSettings

_STALE_SECONDS = 10.0
_WATCH_SECONDS = 0.5


class LeftBehind(Exception):
    """A worker was told to stop and could not hand everything over; its text is a sentence about the rest."""


async def serve(settings: WorkerSettings, stop: asyncio.Event, log: Log) -> None:
    """Run a worker with the engine that its settings name; see :func:`operate`."""
    metrics = WorkerMetrics(CollectorRegistry())
    engine = make_engine(
        settings.engine,
        echo=settings.echo,
        transformers=settings.transformers(lambda line: log.info("loading", line=line)),
        upstream=settings.upstreams,
        watch=metrics.step,
    )
    await operate(engine, settings, stop, log, metrics)


async def operate(
    engine: Engine,
    settings: WorkerSettings,
    stop: asyncio.Event,
    log: Log,
    metrics: WorkerMetrics | None = None,
) -> None:
    """Run a worker around an engine until ``stop`` is set, then hand its responses over.

    Raises EngineError if the engine cannot start or has failed, PortTaken if the internal port cannot be had,
    LeftBehind if something could not be handed over.
    """
    log_failures(log)
    metrics = metrics or WorkerMetrics(CollectorRegistry())
    waiting_for = {"sentence": "The engine is being loaded."}
    probes = Probes(
        settings.probe_host,
        settings.probe_port,
        metrics.registry,
        lambda: waiting_for.get("sentence"),
        _STALE_SECONDS,
    )
    metrics.process.ready.set_function(lambda: float(not waiting_for))
    async with contextlib.AsyncExitStack() as stack:
        record = stack.enter_context(exported(settings.otlp, "tokenwire-worker"))
        port = probes.start()
        stack.callback(probes.stop)
        events = _Events()
        beating = background(_beat(probes, engine, settings.step_timeout), "beat")
        stack.push_async_callback(_ended, beating)
        link = await _checked(settings, metrics, log, stack)  # before a model is loaded for minutes
        stack.push_async_callback(_close, engine, log)
        await engine.start(events.on_step)
        intake, publisher = await _join(
            settings, link, engine, port=port, metrics=metrics, log=log, record=record, stack=stack
        )
        events.publisher = publisher
        waiting_for.clear()
        log.info("ready", probe_port=port, model=engine.info.model, build=engine.info.build)
        async with _running(
            publisher.run(),
            intake.claim_for_ever(),
            intake.renew_for_ever(),
            intake.name_for_ever(),
            _watch(engine),
            watch_lateness(metrics.process.late),
        ) as loops:
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({stopping, *loops}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            waiting_for["sentence"] = "The worker is draining."
            log.info("draining", running=len(publisher.journals))
            left = await intake.drain(settings.drain_seconds, hand_over=engine.healthy)
    log.info("stopped", left=left)
    if left:
        raise LeftBehind(
            f"{left} responses could not be handed over within DRAIN_SECONDS {settings.drain_seconds:g}: another "
            "worker continues them when their leases have run out."
        )


async def _close(engine: Engine, log: Log) -> None:
    """End the engine.  A step that hangs holds nobody up: its thread ends with the process."""
    try:
        await engine.close()
    except EngineError as error:
        log.warning("engine_stuck", problem=str(error))


async def _join(  # noqa: PLR0913 - what the parts are made from
    settings: WorkerSettings,
    link: Server,
    engine: Engine,
    *,
    port: int,
    metrics: WorkerMetrics,
    log: Log,
    record: Record,
    stack: contextlib.AsyncExitStack,
) -> tuple[Intake, Publisher]:
    """Put the parts together."""
    info = WorkerInfo(
        worker=settings.worker_name,
        model=engine.info.model,
        build=engine.info.build,
        context_length=engine.info.context_length,
        slots=engine.info.slots,
        reserve=settings.reserve(engine.info.slots),
        created=int(time.time()),
        device=engine.info.device,
        keeps=engine.info.keeps,
        version=version("tokenwire"),
        probe=address(settings.probe_host, port),
    )
    store = RedisWorkerStore(
        link,
        settings.redis_url,
        worker=info.worker,
        model=info.model,
        build=info.build,
        partitions=settings.partitions,
        leases=settings.leases,
        on_unreadable=_Unreadable(metrics, log),
    )
    stack.push_async_callback(store.close)
    publisher = Publisher(store, engine.cancel, metrics, log, log_bytes=settings.log_bytes, record=record)
    intake = Intake(store, engine, publisher, metrics, log, info=info, leases=settings.leases)
    return intake, publisher


async def _checked(
    settings: WorkerSettings, metrics: WorkerMetrics, log: Log, stack: contextlib.AsyncExitStack
) -> Server:
    """Connect to the store.  Raises SettingsError if it is not fit to hold logs."""
    link = connect(settings.redis_url, seen=metrics.process.round_trip)
    stack.push_async_callback(link.close)
    watchman = Watchman(link, parse(settings.redis_url), settings.partitions, log)
    await watchman.at_start()
    watching = background(watchman.run(), "watchman")
    stack.push_async_callback(_ended, watching)
    return link


class _Unreadable:
    """Says that a response was failed, or a queue entry put aside, since it cannot be read here."""

    def __init__(self, metrics: WorkerMetrics, log: Log) -> None:
        self._metrics = metrics
        self._log = log

    def __call__(self, which: str, problem: str) -> None:
        self._metrics.unreadable.inc()
        self._log.error("unreadable", which, problem=problem)


class _Events:
    """Hands the engine's steps on; the engine starts before the publisher can be made."""

    def __init__(self) -> None:
        self.publisher: Publisher | None = None

    def on_step(self, events: Sequence[Event]) -> None:
        if self.publisher is not None:
            self.publisher.on_step(events)


@contextlib.asynccontextmanager
async def _running(*loops: Coroutine[None, None, None]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run the loops; one that fails ends the worker, and its exception is raised at the end."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


async def _watch(engine: Engine) -> None:
    """Raise EngineError once the engine cannot compute any more: another process must take its place."""
    while engine.healthy:  # noqa: ASYNC110 - the engine's thread has no event to wait for
        await asyncio.sleep(_WATCH_SECONDS)
    raise EngineError(f"The engine has failed; start the worker again. {engine.failure}".rstrip())


async def _beat(probes: Probes, engine: Engine, step_timeout: float) -> None:
    """Say that the process is alive, while the event loop turns and neither a step nor a tokenizer hangs."""
    steps, since = -1, time.monotonic()
    while True:
        stats = engine.stats()
        now = time.monotonic()
        if stats.steps != steps or stats.running + stats.waiting == 0:
            steps, since = stats.steps, now
        if max(now - since, stats.preparing_seconds) < step_timeout:
            probes.beat()
        await asyncio.sleep(1)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
