"""A real fleet to strike at: an embedded server, gateways and workers, each behind a proxy of its own."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

from tokenwire.audit.facts import Struck
from tokenwire.audit.fleet_shape import FleetShape
from tokenwire.audit.member import Member
from tokenwire.audit.one_server import Embedded
from tokenwire.audit.proxy import Proxy
from tokenwire.audit.schedule import Fault, Strike
from tokenwire.audit.site import Site
from tokenwire.plan import Process, Role
from tokenwire.readiness import Say, first_token

_LOOK_SECONDS = 0.05


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
        return self._shape.model

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
        for process in self.planned():
            proxy = Proxy(self.site.dial, random.Random(f"drops {self._shape.seed} {process.name}"))  # noqa: S311 - replays
            url = f"redis://127.0.0.1:{await proxy.start()}/0" if self.site.proxied else self.site.url
            process = replace(process, environ={**process.environ, "REDIS_URL": url})  # noqa: PLW2901 - its own link
            members = self.workers if process.role is Role.WORKER else self.gateways
            members.append(
                Member(
                    process,
                    proxy,
                    len(members),
                    log=self._folder / f"{process.name}.log",
                    start_seconds=self._shape.start_seconds,
                    say=self._say,
                )
            )
        await asyncio.gather(*(member.start() for member in self.members))
        await asyncio.gather(*(first_token(url, self.model, self._say) for url in self.urls))

    def planned(self) -> list[Process]:
        """Return the processes as they would be started with no proxy between, workers first."""
        return self._shape.planned(self.site.url, self.site.partitions)

    async def stop(self) -> None:
        """End everything at once: nothing of it is kept."""
        for watch in self._watches:
            watch.cancel()
        for member in self.members:
            member.send(signal.SIGKILL)
        for member in self.members:
            await member.kill()
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
            exit_code, exit_seconds = await member.hit(strike)
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

    async def kill(self, member: Member) -> None:
        """End a process at once; it stays away until :meth:`start_again`."""
        member.up = False
        await member.kill()

    async def start_again(self, member: Member) -> None:
        """Start what was killed.  Raises CommandError if it does not come up."""
        await member.start()

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
        await member.start()
        self.deaths.append(Struck(Fault.POISON, member.target, begin, time.time(), exit_code=code))
