"""What all viewers of a process share."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec

from tokenwire.audit.events import Event
from tokenwire.audit.transcript import Viewing
from tokenwire.audit.websocket import Address


class Desk:
    """What all viewers of a process share."""

    def __init__(
        self, gateways: Sequence[Address], draw: random.Random, put: Callable[[Viewing], None]
    ) -> None:
        self.gateways = gateways
        self.draw = draw
        self.put = put
        self.closing = False
        """No new response is asked for."""
        self.tasks: set[asyncio.Task[None]] = set()
        self.asked = self.ended = self.sockets = self.refused = self.seen = self.stops = 0
        self.decode = msgspec.json.Decoder(Event).decode

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a task of a viewer; one that fails ends the process with what happened."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)

    def other(self, than: int) -> int:
        """Choose a gateway, another one than ``than`` if there is one."""
        others = [n for n in range(len(self.gateways)) if n != than]
        return self.draw.choice(others) if others else than

    def _done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a viewer failed", "exception": task.exception(), "task": task}
            )
