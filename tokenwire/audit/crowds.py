"""The client processes of an audit, as their leader sees them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from asyncio.subprocess import Process as Running
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tokenwire import tether
from tokenwire.audit.asks import Load
from tokenwire.audit.crowd import Orders, Progress, Word
from tokenwire.audit.schedule import Strike
from tokenwire.audit.transcript import Stall
from tokenwire.errors import FAILED, CommandError

CROWDS = 2
"""Client processes: one could not read for hundreds and be punctual as well."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done to whom."""

    seed: int
    seconds: float
    clients: int
    load: Load
    strikes: Sequence[Strike]
    burst: int
    """Asks that come at once in an overload."""
    key: str = "none"


class Crowds:
    """The client processes."""

    def __init__(self, plan: Plan, urls: Sequence[str], folder: Path) -> None:
        self._plan = plan
        self._urls = list(urls)
        self._folder = folder
        self._running: list[Running] = []
        self._readers: list[asyncio.Task[None]] = []
        self.progress = [Progress() for _ in range(CROWDS)]
        self.stalls: list[Stall] = []

    @property
    def paths(self) -> list[Path]:
        """Where the transcripts are written."""
        return [self._folder / f"transcripts-{n}.jsonl" for n in range(CROWDS)]

    @property
    def total(self) -> Progress:
        """What all of them have told."""
        names = ("asked", "ended", "sockets", "refused", "seen", "stops")
        return Progress(**{name: sum(getattr(each, name) for each in self.progress) for name in names})

    async def start(self) -> None:
        """Start the processes and give them their orders."""
        share = self._plan.clients // CROWDS
        for n, path in enumerate(self.paths):
            with (self._folder / f"crowd-{n}.log").open("ab") as log:
                running = await asyncio.create_subprocess_exec(
                    *tether.command(
                        os.getpid(), [sys.executable, "-P", "-m", "tokenwire.audit.crowd"], signal.SIGKILL
                    ),
                    stdin=PIPE,
                    stdout=PIPE,
                    stderr=log,
                    limit=1 << 24,
                    start_new_session=True,
                )
            self._running.append(running)
            orders = Orders(
                self._plan.seed, n * 1000, share, self._urls, self._plan.key, str(path), self._plan.load
            )
            self._tell(running, orders)
            self._readers.append(asyncio.create_task(self._read(n, running)))

    def say(self, word: Word, crowds: int = CROWDS) -> None:
        """Tell the first crowds something."""
        for running in self._running[:crowds]:
            self._tell(running, word)

    async def finished(self) -> None:
        """Wait for the end.  Raises CommandError if a process failed."""
        await asyncio.gather(*self._readers)
        for n, running in enumerate(self._running):
            code = await running.wait()
            log = (self._folder / f"crowd-{n}.log").read_text(errors="replace")
            if code or log.strip():
                raise CommandError(f"A client process failed ({code}): {log[-2000:]}", FAILED)

    async def stop(self) -> None:
        """End the processes, whatever they do."""
        for running in self._running:
            with suppress(ProcessLookupError):
                running.kill()
            await running.wait()
        await asyncio.gather(*self._readers, return_exceptions=True)

    @staticmethod
    def _tell(running: Running, word: Orders | Word) -> None:
        if running.stdin is not None:
            running.stdin.write(msgspec.json.encode(word) + b"\n")

    async def _read(self, n: int, running: Running) -> None:
        while running.stdout is not None and (line := await running.stdout.readline()):
            self.progress[n] = msgspec.json.decode(line, type=Progress)
        self.stalls += self.progress[n].stalls
