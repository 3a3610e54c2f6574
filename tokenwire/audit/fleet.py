"""A real fleet to strike at: an embedded server, gateways and workers, each behind a proxy of its own."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import time
from asyncio.subprocess import DEVNULL
from asyncio.subprocess import Process as Running
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from tokenwire import plan, tether
from tokenwire.audit.facts import Struck
from tokenwire.audit.findings import Rules
from tokenwire.audit.proxy import Proxy
from tokenwire.audit.schedule import Fault, Strike
from tokenwire.audit.sites import Embedded, Site
from tokenwire.errors import FAILED, CommandError
from tokenwire.plan import Process, Role
from tokenwire.readiness import answers_ready, first_token
from tokenwire.settings import UpSettings
from tokenwire.up import free_ports

Say = Callable[[str], None]

POISONED = 70
"""Exit code of a worker that a poison prompt killed (worker.engines.echo)."""
_EXIT_SECONDS = 20.0
_LOOK_SECONDS = 0.05
_SLOW_LINK = 0.3
"""Seconds by which a delayed link is late, each way."""
_HELD_SECONDS = 0.2
_DRAIN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class FleetShape:
    """What is started."""

    workers: int
    gateways: int
    rules: Rules
    environ: Mapping[str, str]
    """What the processes inherit; the rules stand above it."""
    engine: str = "echo"
    echo_rate: float = 50.0
    seed: int = 1
    roots: Mapping[Role, Path] = field(default_factory=dict)
    """Checkouts that a tier is run from, if not from this one: two versions share one log."""
    start_seconds: float = 60.0
    """What a process gets to be ready; a real model is loaded meanwhile."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings of the processes that stand above all else."""


class Member:
    """One process through all its lives, with the proxy between it and the server."""

    def __init__(self, process: Process, proxy: Proxy, index: int) -> None:
        self.process = process
        self.proxy = proxy
        self.index = index
        self.running: Running | None = None
        self.up = False
        """At work, as far as the strikes know."""

    @property
    def target(self) -> str:
        """Name by which the evidence knows it: a worker's own, a gateway's index."""
        return self.process.environ["WORKER_NAME"] if self.process.role is Role.WORKER else str(self.index)

    def send(self, number: signal.Signals) -> None:
        """Send a signal; a process that has just ended by itself takes none."""
        if self.running is not None:
            with suppress(ProcessLookupError):
                self.running.send_signal(number)

    async def ended(self, seconds: float) -> int | None:
        """Wait for the end; return the exit code, or None if it is late."""
        if self.running is None:
            return 0
        try:
            async with asyncio.timeout(seconds):
                return await self.running.wait()
        except TimeoutError:
            return None


class AuditFleet:
    """Starts, strikes, heals and ends the processes."""

    def __init__(self, shape: FleetShape, folder: Path, say: Say, site: Site | None = None) -> None:
        self._shape = shape
        self._folder = folder
        self._say = say
        self.site = site or Embedded(folder)
        self._watches: set[asyncio.Task[None]] = set()
        self.deaths: list[Struck] = []
        """Processes that ended without being struck."""
        self.workers: list[Member] = []
        self.gateways: list[Member] = []

    @property
    def members(self) -> list[Member]:
        """All workers and gateways."""
        return [*self.workers, *self.gateways]

    @property
    def model(self) -> str:
        """Name of the model that is served."""
        return plan.model_name(self._settings())

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of all that run now, by the names that the evidence knows."""
        running = ((member.target, member.running) for member in self.members)
        return {name: each.pid for name, each in running if each is not None and each.returncode is None}

    @property
    def urls(self) -> list[str]:
        """Where the gateways listen."""
        return [f"http://127.0.0.1:{member.process.environ['PORT']}" for member in self.gateways]

    async def start(self) -> None:
        """Start everything; return when tokens come out of every gateway.  Raises CommandError."""
        await self.site.start()
        shape = self._shape
        ports = free_ports(shape.workers + 2 * shape.gateways)
        for process in self._plan(ports):
            proxy = Proxy(self.site.dial, random.Random(f"drops {shape.seed} {process.name}"))  # noqa: S311 - replays
            url = f"redis://127.0.0.1:{await proxy.start()}/0" if self.site.proxied else self.site.url
            process = replace(process, environ={**process.environ, "REDIS_URL": url})  # noqa: PLW2901 - its own link
            members = self.workers if process.role is Role.WORKER else self.gateways
            member = Member(process, proxy, len(members))
            members.append(member)
        await asyncio.gather(*(self._start(member) for member in self.members))
        await asyncio.gather(*(first_token(url, self.model, self._say) for url in self.urls))

    def planned(self) -> list[Process]:
        """Return the processes as they would be started with no proxy between, workers first."""
        return self._plan(free_ports(self._shape.workers + 2 * self._shape.gateways))

    async def stop(self) -> None:
        """End everything at once: nothing of it is kept."""
        for watch in self._watches:
            watch.cancel()
        for member in self.members:
            member.send(signal.SIGKILL)
        for member in self.members:
            await member.ended(_EXIT_SECONDS)
            await member.proxy.stop()
        await self.site.stop()

    # ---- strikes ----

    async def strike(self, strike: Strike) -> Struck | None:
        """Carry a strike out and wait until what it hit is at work again; None if nobody could be struck."""
        if strike.fault.on_server:
            return await self.site.strike(strike, self)
        member = self._target(strike)
        if member is None:
            return None
        member.up = False
        begin = time.time()
        try:
            exit_code, exit_seconds = await self._hit(strike, member)
        finally:
            member.up = True
        return Struck(
            strike.fault, member.target, begin, time.time(), exit_seconds=exit_seconds, exit_code=exit_code
        )

    def _target(self, strike: Strike) -> Member | None:
        """Choose who is struck: the planned one or its next neighbour; the last one at work is spared."""
        tier = self.workers if strike.fault.on_worker else self.gateways
        at_work = [member for member in tier if member.up]
        if len(at_work) < 2 and len(tier) > 1:
            return None
        turned = [tier[(strike.target + n) % len(tier)] for n in range(len(tier))]
        return next((member for member in turned if member.up), None)

    async def _hit(self, strike: Strike, member: Member) -> tuple[int, float]:
        match strike.fault:
            case Fault.KILL_WORKER | Fault.KILL_GATEWAY:
                member.send(signal.SIGKILL)
                await member.ended(_EXIT_SECONDS)
                await self._start(member)
            case Fault.FREEZE_WORKER | Fault.FREEZE_GATEWAY:
                member.send(signal.SIGSTOP)
                await asyncio.sleep(strike.seconds)
                member.send(signal.SIGCONT)
            case Fault.DRAIN_WORKER | Fault.DRAIN_GATEWAY:
                return await self._drain(member)
            case Fault.CUT_WORKER_LINK | Fault.CUT_GATEWAY_LINK:
                await self._cut(member.proxy, strike.seconds)
            case Fault.CUT_LIVE_LINK:
                member.proxy.cut(live_only=True)
            case Fault.DELAY_WORKER_LINK | Fault.DELAY_GATEWAY_LINK:
                member.proxy.delay = _SLOW_LINK
                await asyncio.sleep(strike.seconds)
                member.proxy.delay = 0.0
            case Fault.HOLD_WORKER_LINK:
                await self._hold(member.proxy, strike.seconds)
            case Fault.DROP_LIVE:
                member.proxy.drop_share = strike.share
                await asyncio.sleep(strike.seconds)
                member.proxy.drop_share = 0.0
            case _:
                raise ValueError(f"{strike.fault} is no strike at a process")
        return 0, 0.0

    @staticmethod
    async def _cut(proxy: Proxy, seconds: float) -> None:
        """Reset the link, or swallow everything for a while and then reset it."""
        if not seconds:
            proxy.cut()
            return
        proxy.swallow()
        await asyncio.sleep(seconds)
        proxy.heal()

    @staticmethod
    async def _hold(proxy: Proxy, seconds: float) -> None:
        """Hold everything back and let it arrive at once, later than the lease: appends of a zombie among it."""
        proxy.delay = seconds
        await asyncio.sleep(_HELD_SECONDS)
        proxy.delay = 0.0  # what comes behind waits for what was held
        await asyncio.sleep(seconds - _HELD_SECONDS)

    async def _drain(self, member: Member) -> tuple[int, float]:
        began = time.monotonic()
        member.send(signal.SIGTERM)
        code = await member.ended(_EXIT_SECONDS)
        seconds = time.monotonic() - began
        if code is None:
            member.send(signal.SIGKILL)
            await member.ended(_EXIT_SECONDS)
        await self._start(member)
        return (-signal.SIGKILL if code is None else code), seconds

    async def kill(self, member: Member) -> None:
        """End a process at once; it stays away until :meth:`start_again`."""
        member.up = False
        member.send(signal.SIGKILL)
        await member.ended(_EXIT_SECONDS)

    async def start_again(self, member: Member) -> None:
        """Start what was killed.  Raises CommandError if it does not come up."""
        await self._start(member)

    # ---- processes ----

    async def revive(self) -> None:
        """Start again whatever ends without being struck, as a poison prompt's workers do, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            for member in self.members:
                running = member.running
                if member.up and running is not None and running.returncode is not None:
                    member.up = False
                    watch = asyncio.create_task(self._restart(member, running.returncode))
                    self._watches.add(watch)
                    watch.add_done_callback(self._watches.discard)

    async def _restart(self, member: Member, code: int) -> None:
        begin = time.time() - _LOOK_SECONDS / 2
        await self._start(member)
        self.deaths.append(Struck(Fault.POISON, member.target, begin, time.time(), exit_code=code))

    async def _start(self, member: Member) -> None:
        """Start a process and wait until it is at work.  Raises CommandError if it does not come up."""
        process = member.process
        log = (self._folder / f"{process.name}.log").open("ab")
        try:
            member.running = await asyncio.create_subprocess_exec(
                *tether.command(os.getpid(), list(process.argv), signal.SIGKILL),
                env=process.environ,
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            log.close()
        if not await self._came_up(member):
            words = plan.last_words((self._folder / f"{process.name}.log").read_text(errors="replace"))
            raise CommandError(f"{process.name} did not start: {words}", FAILED)
        member.up = True

    async def _came_up(self, member: Member) -> bool:
        """Wait until a process says that it is ready; False if it ends before, or takes too long."""
        ready = asyncio.ensure_future(answers_ready(member.process, self._say))
        ended = asyncio.ensure_future(member.ended(self._shape.start_seconds))
        await asyncio.wait({ready, ended}, return_when=asyncio.FIRST_COMPLETED)
        came_up = ready.done() and ready.exception() is None
        if ended.done() and member.running is not None and member.running.returncode == POISONED:
            came_up = True  # it was ready, and took the poison before we looked; it is started again
        for task in (ready, ended):
            task.cancel()
        await asyncio.gather(ready, ended, return_exceptions=True)
        return came_up

    def _settings(self) -> UpSettings:
        shape = self._shape
        return UpSettings(
            workers=shape.workers,
            gateways=shape.gateways,
            engine=shape.engine,
            slots=shape.rules.slots,
            cache_dir=Path(shape.environ.get("CACHE_DIR", ".cache")),
        )

    def _plan(self, ports: Sequence[int]) -> list[Process]:
        """Plan the processes as `tokenwire up` does, each gateway with a port of its own."""
        shape, settings = self._shape, self._settings()
        environ = self._environ()
        probes = ports[: shape.workers + shape.gateways]
        workers = plan.workers(
            settings,
            environ,
            redis_url=self.site.url,
            run=secrets.token_hex(2),
            processors=os.cpu_count() or 1,
            ports=probes[: shape.workers],
        )
        gateways = plan.gateways(
            settings, environ, redis_url=self.site.url, page=None, ports=probes[shape.workers :]
        )
        doors = ports[shape.workers + shape.gateways :]
        drain = {"DRAIN_SECONDS": str(_DRAIN_SECONDS), "ROUTING_SECONDS": "0.5"}
        older = {role: {"PYTHONPATH": str(root)} for role, root in shape.roots.items()}
        extra = {role: drain | older.get(role, {}) for role in (Role.WORKER, Role.GATEWAY)}
        return [replace(each, environ={**each.environ, **extra[each.role]}) for each in workers] + [
            replace(each, environ={**each.environ, **extra[each.role], "PORT": str(port), "REUSE_PORT": "0"})
            for each, port in zip(gateways, doors, strict=True)
        ]

    def _environ(self) -> dict[str, str]:
        rules = self._shape.rules
        return {
            **self._shape.environ,
            "LEASE_SECONDS": str(rules.lease),
            "ATTACHMENT_SECONDS": str(rules.attachment),
            "KEEP_SECONDS": str(rules.keep),
            "WAITING_BOUND": str(rules.bound),
            "PARTITIONS": str(self.site.partitions),
            "ECHO_RATE": str(self._shape.echo_rate),
            "ECHO_MARK": str(int(rules.mark)),
            "ECHO_POISON": "1",
            "SLOTS": str(rules.slots),
            "MODEL_NAME": "",
            **self._shape.settings,
        }
