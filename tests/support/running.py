"""`tokenwire up` as a child of the test, the way a user runs it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

_PID = re.compile(r"(\S+) pid (\d+)(?: metrics (\S+))?")


@dataclass
class Up:
    """A running `tokenwire up`: what it said, and its processes by name."""

    process: asyncio.subprocess.Process
    port: int
    lines: list[str] = field(default_factory=list)
    pids: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    reading: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for raw in self.process.stdout:
            line = raw.decode().rstrip()
            self.lines.append(line)
            if match := _PID.fullmatch(line):
                self.pids[match[1]] = int(match[2])
                if match[3]:
                    self.metrics[match[1]] = match[3]
            self.changed.set()
        self.changed.set()

    async def said(self, start: str, seconds: float = 300) -> str:
        """Wait for a line that begins with ``start``."""
        async with asyncio.timeout(seconds):
            while True:
                self.changed.clear()
                for line in self.lines:
                    if line.startswith(start):
                        return line
                assert not (self.reading and self.reading.done()), "\n".join(self.lines)
                await self.changed.wait()

    def kill(self, name: str) -> None:
        os.kill(self.pids[name], signal.SIGKILL)

    async def stop(self) -> int:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            return await self.process.wait()


@contextlib.asynccontextmanager
async def running_up(
    port: int, command: str = "up", ready: str = "ready ", **settings: str
) -> AsyncIterator[Up]:
    """Run `tokenwire up`, or a command like it, until the block ends; it is ready when the block begins."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tokenwire",
        command,
        env={**os.environ, "PORT": str(port), **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    up = Up(process, port)
    up.reading = asyncio.create_task(up.read())
    try:
        await up.said(ready)
        yield up
    finally:
        await up.stop()
        await up.reading
