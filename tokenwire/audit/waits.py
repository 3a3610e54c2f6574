"""How long the processes of a fleet waited for a processor, by the kernel's own count: nobody's fault but the machine's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from tokenwire.audit.transcript import Stall

_TICK = 0.25
_WORTH = 0.03
"""Seconds of waiting within a tick that count: smaller ones are what any busy machine does."""
_NANO = 1e-9


class Waits:
    """Looks at ``/proc/PID/task/*/schedstat`` again and again (Linux; elsewhere nothing is found)."""

    def __init__(self, pids: Callable[[], Mapping[str, int]], proc: Path = Path("/proc")) -> None:
        """``pids`` returns the process of each name that runs now."""
        self.found: list[Stall] = []
        """For each tick and process as long as its thread that waited longest did, at the tick's end."""
        self._pids = pids
        self._proc = proc
        self._known: dict[Path, float] = {}

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(_TICK)
            self.look(time.time())

    def look(self, now: float) -> None:
        """Note what was waited since the last look."""
        known, self._known = self._known, {}
        for who, pid in self._pids().items():
            waited = dict(self._delays(pid))
            longest = max((delay - known.get(task, delay) for task, delay in waited.items()), default=0.0)
            self._known |= waited
            if longest > _WORTH:
                self.found.append(Stall(now - longest, now, who))

    def _delays(self, pid: int) -> list[tuple[Path, float]]:
        """Return how long each thread of a process has waited in its life, in seconds."""
        found = []
        with suppress(OSError):  # it has just ended, or this system counts nothing
            for task in (self._proc / str(pid) / "task").iterdir():
                with suppress(OSError):
                    # run time, time on a run queue, time slices (Documentation/scheduler/sched-stats)
                    _, delay, _ = (task / "schedstat").read_text().split()
                    found.append((task, int(delay) * _NANO))
        return found
