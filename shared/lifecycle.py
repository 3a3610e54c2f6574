"""How a process runs, and learns that it should stop."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable

import uvloop

_SAME_SIGNAL = 1.0
"""Seconds within which a second signal is the first one again: a process group and `make` both deliver it."""

EXIT_FORCED = 130
"""Exit code after a second signal cut the orderly stop short."""


def run(main: Callable[[asyncio.Event], Awaitable[None]]) -> int:
    """Run ``main(stop)`` on uvloop and return the exit code.

    SIGTERM, SIGINT and SIGHUP set ``stop``; another one, a second or more later, cancels ``main``.
    Exceptions of ``main`` pass through.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_with_signals(main))


async def _with_signals(main: Callable[[asyncio.Event], Awaitable[None]]) -> int:
    stop = asyncio.Event()
    task = asyncio.ensure_future(main(stop))
    signals = _Signals(stop, task)
    loop = asyncio.get_running_loop()
    heard = _heard()
    for number in heard:
        loop.add_signal_handler(number, signals.came)
    try:
        await task
    except asyncio.CancelledError:
        if not signals.forced:
            raise
        return EXIT_FORCED
    finally:
        for number in heard:
            loop.remove_signal_handler(number)
    return 0


def _heard() -> tuple[signal.Signals, ...]:
    """Return the signals to listen to; a hang-up that nohup(1) switched off stays so."""
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        return signal.SIGTERM, signal.SIGINT
    return signal.SIGTERM, signal.SIGINT, signal.SIGHUP


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
