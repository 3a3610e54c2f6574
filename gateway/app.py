"""Builds a gateway's objects, starts them in order and stops them in the reverse one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry

from gateway.admission import Admission
from gateway.desk import Desk
from gateway.door import Door
from gateway.drain import Drain
from gateway.entrance import make_entrance
from gateway.headers import Cors, with_headers
from gateway.http import Http
from gateway.hub import Hub, Pace
from gateway.library_log import LibraryLog, quiet_libraries
from gateway.meter import REFRESH_SECONDS, Meter
from gateway.metrics import Goal, Metrics
from gateway.models import Models
from gateway.page import Page, check_page
from gateway.page_times import PageTimes
from gateway.settings import BUILT_PAGE, GatewaySettings
from gateway.sockets import Sockets
from gateway.tasks import Tasks
from gateway.times import Tracing
from gateway.turnstile import Turnstile
from shared.background import log_failures, meanwhile
from shared.metrics import ProcessMetrics
from shared.observe import Log, Probes, address, make_logger, watch_lateness
from shared.otlp import exported
from shared.settings import PortTaken
from shared.store.access import Access, RedisAccess, RevocationReader
from shared.store.check import Watchman
from shared.store.connect import connect
from shared.store.contract import GatewayStore, Live, StoreUnavailable
from shared.store.gateway import RedisGatewayStore
from shared.store.link import Server
from shared.store.live import LiveReader
from shared.store.meters import Meters, RedisMeters
from shared.store.place import parse

_ROUND_SECONDS = 1.0
_ANNOUNCE_SECONDS = 3.0
_STALE_SECONDS = 20.0
_GRACE_SECONDS = 1.0
"""What a drain leaves to HTTP requests that are neither streams nor waits."""

_NO_MODEL = ""
"""What is swept for when the last worker has retired: deadlines go on."""


class Gateway:
    """One gateway over any store."""

    def __init__(  # noqa: PLR0913 - what main() builds, and what tests put in its place
        self,
        settings: GatewaySettings,
        store: GatewayStore,
        log: Log,
        registry: CollectorRegistry,
        *,
        name: str | None = None,
        pace: Pace | None = None,
        tracing: Tracing | None = None,
        access: Access | None = None,
        meters: Meters | None = None,
    ) -> None:
        self.name = name or new_name()
        self.port = 0
        """Known once it has started."""
        self.probe = ""
        """host:port of its internal port, if it has one."""
        self._settings = settings
        self._store = store
        self._log = log
        self._metrics = Metrics(registry, Goal(settings.goal_first_token, settings.goal_per_token))
        self._problem: str | None = "The gateway has not started yet."
        self._stopping = False
        self._rounds: list[asyncio.Task[Any]] = []
        self._tasks = Tasks(log)
        self._models = Models(store)
        clock = time.monotonic
        pace = pace or Pace(refresh=settings.refresh_seconds)
        self.hub = Hub(store, name=self.name, clock=clock, log=log, metrics=self._metrics, pace=pace)
        counted = None if settings.dev else meters
        self._meter = Meter.of(counted, self.name, settings.address_quota, clock)
        admission = Admission(
            store,
            self._models,
            defaults=settings.defaults,
            bound=settings.waiting_bound,
            draw=lambda: secrets.randbits(63),
            log=log,
            metrics=self._metrics,
            meter=self._meter,
            tracing=tracing,
        )
        self._drain = Drain()
        desk = Desk(
            self.hub,
            admission,
            settings.limits,
            clock,
            log,
            self._metrics,
            self._tasks,
            self._drain,
            self._meter,
            tracing or Tracing(),
        )
        self._entrance = make_entrance(settings, access, clock, log)
        self._sockets = Sockets(desk, self._entrance, settings.max_sockets)
        self._door = self._make_door(desk, PageTimes(registry))

    def _make_door(self, desk: Desk, page_times: PageTimes) -> Door:
        settings = self._settings
        page = Page(settings.page_dir)
        http = Http(desk, self._store, self._models, self._entrance, page, page_times)
        cors = Cors(http.application(), settings.origins)
        application = with_headers(cors, self._drain, https_only=settings.https_only)
        return Door(self._sockets, application, Turnstile(settings.handshakes_per_second))

    def ready(self) -> str | None:
        """Return None, or a sentence saying what is missing; may be called on any thread."""
        return self._problem

    async def start(self, live: Live) -> None:
        """Open the door.  Raises PortTaken if it cannot be had."""
        self.hub.listen(live)
        self._metrics.live_connected.set_function(lambda: float(live.connected))
        await self._round()
        settings = self._settings
        try:
            self.port = await self._door.start(settings.host, settings.port, reuse_port=settings.reuse_port)
        except OSError as error:
            raise PortTaken("", settings.host, settings.port, error) from error
        await self._round()  # now that the door is open it may be ready
        self.hub.start()
        self._rounds = [
            self._tasks.every(_ROUND_SECONDS, self._sockets.tick, "tick"),
            self._tasks.every(_ROUND_SECONDS, self._round, "round"),
            self._tasks.every(_ROUND_SECONDS, self._entrance.roster.look, "roster"),
            self._tasks.every(_ROUND_SECONDS, self._entrance.doorkeeper.refresh, "credentials"),
            self._tasks.every(REFRESH_SECONDS, self._meter.refresh, "refresh"),
            self._tasks.every(settings.recheck_seconds, self._entrance.roster.recheck, "recheck"),
            self._tasks.every(min(_ANNOUNCE_SECONDS, settings.lease_seconds / 3), self._announce, "announce"),
        ]
        self._tasks.spawn(self._announce(), "announce")
        self._log.info("listening", host=settings.host, port=self.port, auth=",".join(settings.auth))

    def on_revoked(self, kind: str, which: str) -> None:
        """Act on a revocation that the control channel tells of."""
        self._tasks.spawn(self._entrance.revoked(kind, which), "revoked")

    def on_control_link(self) -> None:
        """Look up all credentials: what was revoked between two links has been missed."""
        self._tasks.spawn(self._entrance.roster.recheck(), "recheck")

    async def stop(self) -> None:
        """Say that it is not ready, wait for the routing to follow, send everybody elsewhere, then stop."""
        settings = self._settings
        self._stopping, self._problem = True, "The gateway is about to stop."
        self._log.info(
            "draining",
            sockets=len(self._sockets),
            routing_seconds=settings.routing_seconds,
            drain_seconds=settings.drain_seconds,
        )
        self._tasks.spawn(self._announce(), "announce")
        await asyncio.sleep(settings.routing_seconds)
        if settings.reuse_port:
            self._door.stop_listening()  # the kernel sends new connections to the others on this port
        await self._drain.send_away(settings.drain_seconds)
        self._door.stop_listening()
        await asyncio.gather(self._sockets.emptied(), self._door.stop(_GRACE_SECONDS))
        for task in self._rounds:
            task.cancel()
        self._tasks.spawn(self._retire(), "retire")
        await self.hub.stop()
        await self._tasks.finish(2.0)
        self._log.info("stopped")

    async def _round(self) -> None:
        """Look at the store, at the workers, and end what is overdue."""
        try:
            await self._store.ping()
            await self._models.refresh()
            models = {each.info.model for each in self._models.announced}
            for model in models or {_NO_MODEL}:
                self._metrics.swept.inc(await self._store.sweep(model))
            for model in models:
                self._metrics.queue_depth.labels(model).set(await self._store.waiting(model))
            self._metrics.look(self._models.announced)
        except StoreUnavailable as problem:
            self._set_problem(f"The store does not answer: {problem}")
        else:
            self._set_problem(None)

    async def _announce(self) -> None:
        """Tell those who look after the whole how it goes here; nothing depends on it."""
        info = self._metrics.told(self.name, draining=self._stopping)
        with contextlib.suppress(StoreUnavailable):  # said by the round
            await self._store.announce(msgspec.structs.replace(info, probe=self.probe))

    async def _retire(self) -> None:
        with contextlib.suppress(StoreUnavailable):  # its announcement runs out
            await self._store.retire()

    def _set_problem(self, problem: str | None) -> None:
        if self._stopping or problem == self._problem or (problem is None and not self.port):
            return
        self._problem = problem
        if problem is None:
            self._log.info("ready")
        else:
            self._log.warning("not_ready", problem=problem)


def new_name() -> str:
    """Return a name for a gateway that no other one has."""
    return f"gateway-{os.getpid()}-{secrets.token_hex(3)}"


async def serve(settings: GatewaySettings, stop: asyncio.Event) -> None:
    """Run a gateway until ``stop`` is set."""
    log = make_logger("gateway", sys.stdout, pid=os.getpid())
    quiet_libraries(LibraryLog(log))
    check_page(settings.page_dir, log, named=settings.page_dir != BUILT_PAGE)
    log_failures(log)
    registry = CollectorRegistry()
    metrics = ProcessMetrics(registry, "gateway")
    async with contextlib.AsyncExitStack() as stack:
        record = stack.enter_context(exported(settings.otlp, "tokenwire-gateway"))
        link = await _checked(settings, metrics, log, stack)
        name = new_name()
        store = RedisGatewayStore(link, name=name, partitions=settings.partitions, leases=settings.leases)
        tracing = Tracing(record, settings.trace_ratio if settings.otlp else 0.0)
        gateway = Gateway(
            settings,
            store,
            log,
            registry,
            name=name,
            tracing=tracing,
            access=RedisAccess(link),
            meters=RedisMeters(link),
        )
        live = LiveReader(settings.redis_url, gateway.hub.on_live, gateway.hub.on_link)
        live.start()
        stack.push_async_callback(live.close)
        if not settings.dev:
            control = RevocationReader(settings.redis_url, gateway.on_revoked, gateway.on_control_link)
            control.start()
            stack.push_async_callback(control.close)
        metrics.ready.set_function(lambda: float(gateway.ready() is None))
        await stack.enter_async_context(_probed(settings, registry, gateway, log, metrics))
        await gateway.start(live)
        await stop.wait()
        await gateway.stop()


async def _checked(
    settings: GatewaySettings, metrics: ProcessMetrics, log: Log, stack: contextlib.AsyncExitStack
) -> Server:
    """Connect to the store.  Raises SettingsError if it is not fit to hold logs."""
    link = connect(settings.redis_url, seen=metrics.round_trip)
    stack.push_async_callback(link.close)
    watchman = Watchman(link, parse(settings.redis_url), settings.partitions, log)
    await watchman.at_start()
    await stack.enter_async_context(meanwhile(watchman.run()))
    return link


@contextlib.asynccontextmanager
async def _probed(
    settings: GatewaySettings,
    registry: CollectorRegistry,
    gateway: Gateway,
    log: Log,
    metrics: ProcessMetrics,
) -> AsyncIterator[None]:
    """Serve the probes meanwhile."""
    probes = Probes(settings.probe_host, settings.probe_port, registry, gateway.ready, _STALE_SECONDS)
    port = probes.start()
    gateway.probe = address(settings.probe_host, port)
    log.info("probing", port=port)
    try:
        async with meanwhile(probes.pulse(), watch_lateness(metrics.late)):
            yield
    finally:
        await asyncio.to_thread(probes.stop)
