"""How a process starts, learns that it should stop, and never outlives its parent."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable

import uvloop

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

_SAME_SIGNAL = 1.0
"""Seconds within which a second signal is the first one again: a process group and `make` both deliver it."""

EXIT_FORCED = 130
"""Exit code after a second signal cut the orderly stop short."""


def run(main: Callable[[asyncio.Event], Awaitable[None]]) -> int:
    """Run ``main(stop)`` on uvloop and return the exit code.

    SIGTERM and SIGINT set ``stop``; a second one, a second or more later, cancels ``main``.
    Exceptions of ``main`` pass through.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_with_signals(main))


async def _with_signals(main: Callable[[asyncio.Event], Awaitable[None]]) -> int:
    stop = asyncio.Event()
    task = asyncio.ensure_future(main(stop))
    signals = _Signals(stop, task)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.came)
    try:
        await task
    except asyncio.CancelledError:
        if not signals.forced:
            raise
        return EXIT_FORCED
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    return 0


class _Signals:
    """Remembers when the first signal came."""

    def __init__(self, stop: asyncio.Event, task: asyncio.Future[None]) -> None:
        self._stop = stop
        self._task = task
        self._first: float | None = None
        self.forced = False

    def came(self) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now
            self._stop.set()
        elif now - self._first >= _SAME_SIGNAL:
            self.forced = True
            self._task.cancel()


def die_with_parent(parent: int) -> None:
    """Have the kernel send SIGTERM to this process when ``parent``, the process that started it, dies.

    The order survives ``exec`` (prctl(2), PR_SET_PDEATHSIG).  Elsewhere than on Linux nothing is done.
    Raises SystemExit if the parent is dead already, OSError if the kernel refuses.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it died before the order stood
        raise SystemExit(1)
