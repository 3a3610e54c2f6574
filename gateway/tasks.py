"""Tasks that nobody awaits: kept from being collected, and never failing in silence."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from shared.observe import Log


class Tasks:
    """Owns background tasks and ends them."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._running: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run ``work`` in a task of its own."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    def every(self, seconds: float, step: Callable[[], Awaitable[None]], name: str) -> asyncio.Task[Any]:
        """Take ``step`` again and again; one that fails is logged and does not end the round."""
        return self.spawn(self._every(seconds, step, name), name)

    async def finish(self, seconds: float) -> None:
        """Wait for all tasks, at most so long, then cancel what is left."""
        if self._running:
            await asyncio.wait(list(self._running), timeout=seconds)
        left = list(self._running)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)

    async def _every(self, seconds: float, step: Callable[[], Awaitable[None]], name: str) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await step()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next step must come
                self._log.error("step_failed", step=name, error=error)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._log.error("task_failed", task=task.get_name(), error=task.exception())
