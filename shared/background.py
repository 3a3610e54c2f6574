"""Background work that never fails in silence: whatever ends it is told to the event loop, which logs it.

A task whose owner holds on to it and does not look keeps its exception for itself: asyncio speaks of it only when
the task is forgotten.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from shared.observe import Log


def background(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Run ``work`` in a task of its own; if it fails, that is told."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_look)
    return task


@contextlib.asynccontextmanager
async def meanwhile(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run each in a task of its own until the block is left; then end them."""
    tasks = [background(each, getattr(each, "__qualname__", "work")) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def tell(what: str, error: BaseException) -> None:
    """Tell of a failure that nobody else hears of."""
    asyncio.get_running_loop().call_exception_handler({"message": f"{what} has failed", "exception": error})


def log_failures(log: Log) -> None:
    """Write what is told to the running event loop into the log: of background work, tasks and callbacks."""

    def write(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        log.error("unexpected", what=context["message"], error=context.get("exception"))

    asyncio.get_running_loop().set_exception_handler(write)


def _look(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        tell(task.get_name(), error)
