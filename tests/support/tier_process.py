"""A gateway or a worker in a process of its own, and the log lines it writes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self


@dataclass
class TierProcess:
    """One process and what it has logged so far."""

    process: asyncio.subprocess.Process
    lines: list[dict[str, object]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    reading: asyncio.Task[None] | None = None
    patience: float = 30.0
    """Seconds after which a log line that must come has not."""

    @classmethod
    async def started(cls, tier: str, environ: Mapping[str, str], **more: object) -> Self:
        """Start it; ``more`` are other fields."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", tier, env=environ, stdout=asyncio.subprocess.PIPE
        )
        made = cls(process, **more)
        assert process.stdout is not None
        made.reading = asyncio.create_task(made.read(process.stdout))
        return made

    async def read(self, stream: asyncio.StreamReader) -> None:
        async for raw in stream:
            self.lines.append(json.loads(raw))
            self.news.set()
        self.news.set()

    async def says(self, event: str) -> dict[str, object]:
        """Wait for a log line."""
        async with asyncio.timeout(self.patience):
            while True:
                self.news.clear()
                for line in self.lines:
                    if line["event"] == event:
                        return line
                assert not (self.reading and self.reading.done()), self.lines
                await self.news.wait()

    def count(self, event: str) -> int:
        return sum(line["event"] == event for line in self.lines)

    async def told_to_stop(self, seconds: float) -> float:
        """Send SIGTERM as the kubelet does, and return after how many seconds it ended in order."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(seconds):
            assert await self.process.wait() == 0
        took = time.monotonic() - began
        await self._read_to_the_end()
        return took

    async def killed(self) -> None:
        """End it at once, if it has not ended."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        await self._read_to_the_end()

    async def _read_to_the_end(self) -> None:
        if self.reading is not None:
            await self.reading
