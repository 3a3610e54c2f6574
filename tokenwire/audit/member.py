"""One process of an audited fleet through all its lives: how it is started, struck and healed."""

from __future__ import annotations

import asyncio
import signal
import time
from asyncio.subprocess import Process as Running
from contextlib import suppress
from pathlib import Path

from tokenwire import plan
from tokenwire.audit import child
from tokenwire.audit.proxy import Proxy
from tokenwire.audit.schedule import Fault, Strike
from tokenwire.errors import FAILED, CommandError
from tokenwire.plan import Process, Role
from tokenwire.readiness import Say, answers_ready

POISONED = 70
"""Exit code of a worker that a poison prompt killed (worker.engines.echo)."""
_EXIT_SECONDS = 20.0
_SLOW_LINK = 0.3
"""Seconds by which a delayed link is late, each way."""
_HELD_SECONDS = 0.2


class Member:
    """One process through all its lives, with the proxy between it and the server."""

    def __init__(  # noqa: PLR0913 - all that a life needs, said once by the fleet
        self, process: Process, proxy: Proxy, index: int, *, log: Path, start_seconds: float, say: Say
    ) -> None:
        self.process = process
        self.proxy = proxy
        self.index = index
        self._log = log
        self._start_seconds = start_seconds
        self._say = say
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

    async def start(self) -> None:
        """Start it and wait until it is at work.  Raises CommandError if it does not come up."""
        self.running = await child.start(self.process.argv, self._log, self.process.environ)
        if not await self._came_up():
            words = plan.last_words(self._log.read_text(errors="replace"))
            raise CommandError(f"{self.process.name} did not start: {words}", FAILED)
        self.up = True

    async def _came_up(self) -> bool:
        """Wait until it says that it is ready; False if it ends before, or takes too long."""
        ready = asyncio.ensure_future(answers_ready(self.process, self._say))
        ended = asyncio.ensure_future(self.ended(self._start_seconds))
        await asyncio.wait({ready, ended}, return_when=asyncio.FIRST_COMPLETED)
        came_up = ready.done() and ready.exception() is None
        if ended.done() and self.running is not None and self.running.returncode == POISONED:
            came_up = True  # it was ready, and took the poison before we looked; it is started again
        for task in (ready, ended):
            task.cancel()
        await asyncio.gather(ready, ended, return_exceptions=True)
        return came_up

    async def kill(self) -> None:
        """End it at once."""
        self.send(signal.SIGKILL)
        await self.ended(_EXIT_SECONDS)

    async def hit(self, strike: Strike) -> tuple[int, float]:
        """Carry a strike out and wait until it is at work again; return exit code and seconds of a drain."""
        match strike.fault:
            case Fault.KILL_WORKER | Fault.KILL_GATEWAY:
                await self.kill()
                await self.start()
            case Fault.FREEZE_WORKER | Fault.FREEZE_GATEWAY:
                self.send(signal.SIGSTOP)
                await asyncio.sleep(strike.seconds)
                self.send(signal.SIGCONT)
            case Fault.DRAIN_WORKER | Fault.DRAIN_GATEWAY:
                return await self._drain()
            case Fault.CUT_WORKER_LINK | Fault.CUT_GATEWAY_LINK:
                await self._cut(self.proxy, strike.seconds)
            case Fault.CUT_LIVE_LINK:
                self.proxy.cut(live_only=True)
            case Fault.DELAY_WORKER_LINK | Fault.DELAY_GATEWAY_LINK:
                self.proxy.delay = _SLOW_LINK
                await asyncio.sleep(strike.seconds)
                self.proxy.delay = 0.0
            case Fault.HOLD_WORKER_LINK:
                await self._hold(self.proxy, strike.seconds)
            case Fault.DROP_LIVE:
                self.proxy.drop_share = strike.share
                await asyncio.sleep(strike.seconds)
                self.proxy.drop_share = 0.0
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

    async def _drain(self) -> tuple[int, float]:
        began = time.monotonic()
        self.send(signal.SIGTERM)
        code = await self.ended(_EXIT_SECONDS)
        seconds = time.monotonic() - began
        if code is None:
            await self.kill()
        await self.start()
        return (-signal.SIGKILL if code is None else code), seconds
