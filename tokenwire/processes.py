"""Running processes: started, watched, started again when they die, and stopped in order."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from asyncio.subprocess import DEVNULL
from asyncio.subprocess import Process as Running
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tokenwire import tether
from tokenwire.errors import FAILED, REFUSED, CommandError
from tokenwire.plan import Process, Role, last_words, pause
from tokenwire.readiness import Say


class Member:
    """One process of the fleet, through all its lives."""

    def __init__(self, process: Process, running: Running) -> None:
        self.process = process
        self.running = running
        self.deaths: list[float] = []

    @property
    def name(self) -> str:
        """Its name, the same in all its lives."""
        return self.process.name

    @property
    def pid(self) -> int:
        """Process id of the life it has now."""
        return self.running.pid

    @property
    def probe_port(self) -> int | None:
        """Where it answers /metrics, if it does."""
        return self.process.probe_port

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if it has just ended."""
        with suppress(ProcessLookupError):  # it has just ended by itself
            self.running.send_signal(number)


class Fleet:
    """The processes of `tokenwire up`.

    Until :meth:`settle` a death is the end of everything; later the dead are started again.
    """

    def __init__(self, logs: Path | None, say: Say) -> None:
        """Make an empty fleet; without ``logs`` the processes write to our own stderr."""
        self._logs = logs
        self._say = say
        self._members: list[Member] = []
        self._watches: list[asyncio.Task[None]] = []
        self._starting = asyncio.Lock()
        self._settled = False
        self._stopping = asyncio.Event()
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self, process: Process) -> None:
        """Start a process and watch it."""
        # Shielded: a start that is cancelled half-way would leave a process that nobody knows.
        await asyncio.shield(asyncio.ensure_future(self._join(process)))

    def members(self, role: Role) -> list[Member]:
        """Return the processes of a role."""
        return [member for member in self._members if member.process.role is role]

    def settle(self) -> None:
        """From now on start the dead again."""
        self._settled = True

    async def broken(self) -> None:
        """Wait until the fleet cannot go on.  Raises what happened: CommandError or OSError."""
        await asyncio.shield(self._broken)

    async def stop(self, order: Sequence[tuple[Role, float]]) -> None:
        """End all processes, role by role: SIGTERM, then SIGKILL once the seconds are over.

        When cancelled it kills what is left and goes on waiting for it.
        """
        async with self._starting:  # from here on nothing is started
            self._stopping.set()
        try:
            for role, seconds in order:
                await self._end(self.members(role), seconds)
        finally:
            for member in self._members:
                member.send(signal.SIGKILL)
            await asyncio.gather(*(member.running.wait() for member in self._members))
            for watch in self._watches:
                watch.cancel()

    async def _end(self, members: Sequence[Member], seconds: float) -> None:
        for member in members:
            member.send(signal.SIGTERM)
        with suppress(TimeoutError):  # who is late is killed by the caller
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(member.running.wait() for member in members))

    async def _join(self, process: Process) -> None:
        async with self._starting:
            if self._stopping.is_set():
                return
            member = Member(process, await self._spawn(process))
            self._members.append(member)
        watch = asyncio.create_task(self._watch(member), name=f"watch {process.name}")
        watch.add_done_callback(self._watched)
        self._watches.append(watch)

    async def _spawn(self, process: Process) -> Running:
        log = self._log_of(process)
        stderr = log.open("ab") if log is not None else None
        try:
            running = await asyncio.create_subprocess_exec(
                *tether.command(os.getpid(), list(process.argv)),
                env=process.environ,
                stdin=DEVNULL,
                stdout=stderr or 2,
                stderr=stderr or 2,
                start_new_session=True,  # Ctrl-C is for us; the others are told in order
            )
        finally:
            if stderr is not None:
                stderr.close()
        probes = f" metrics http://127.0.0.1:{process.probe_port}/metrics" if process.probe_port else ""
        self._say(f"{process.name} pid {running.pid}{probes}")
        return running

    async def _watch(self, member: Member) -> None:
        while True:
            code = await member.running.wait()
            if self._stopping.is_set():
                return
            if not self._settled:
                raise self._death(member, code)
            now = time.monotonic()
            member.deaths.append(now)
            seconds = pause(member.deaths, now)
            self._say(f"{member.process.name} died ({_how(code)}); starting it again in {seconds:g} s")
            await asyncio.sleep(seconds)
            async with self._starting:
                if self._stopping.is_set():
                    return
                member.running = await self._spawn(member.process)

    def _watched(self, watch: asyncio.Task[None]) -> None:
        """Pass on what a watch ended with: nobody awaits it."""
        error = None if watch.cancelled() else watch.exception()
        if error is not None and not self._broken.done():
            self._broken.set_exception(error)

    def _death(self, member: Member, code: int) -> CommandError:
        log = self._log_of(member.process)
        name = member.process.name
        if code == REFUSED and log is not None:  # its own sentence says what to change
            return CommandError(last_words(log.read_text(errors="replace")), REFUSED)
        why = (
            f"{last_words(log.read_text(errors='replace'))} (all of it: {log})" if log else "its log is above"
        )
        return CommandError(f"{name} did not start ({_how(code)}): {why}", FAILED)

    def _log_of(self, process: Process) -> Path | None:
        return None if self._logs is None else self._logs / f"{process.name}.log"


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
