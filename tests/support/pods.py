"""Processes that are started as a manifest says: its variables, its probes, its grace period."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from manifests import Manifest, containers, environment, first_key, named, pod_of, secrets

PATIENCE = 60.0
"""Seconds after which something that must happen has not."""


@dataclass
class Pod:
    """One process and the log lines it wrote."""

    process: asyncio.subprocess.Process
    workload: Manifest
    lines: list[dict[str, object]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    reading: asyncio.Task[None] | None = None

    @property
    def grace(self) -> float:
        """Seconds from SIGTERM to SIGKILL, as the manifest says."""
        return float(pod_of(self.workload)["terminationGracePeriodSeconds"])

    @property
    def container(self) -> Manifest:
        return containers(self.workload)[0]

    async def read(self, stream: asyncio.StreamReader) -> None:
        async for raw in stream:
            self.lines.append(json.loads(raw))
            self.news.set()
        self.news.set()

    async def says(self, event: str) -> dict[str, object]:
        """Wait for a log line."""
        async with asyncio.timeout(PATIENCE):
            while True:
                self.news.clear()
                for line in self.lines:
                    if line["event"] == event:
                        return line
                assert not (self.reading and self.reading.done()), self.lines
                await self.news.wait()

    async def probe_port(self) -> int:
        if self.workload["metadata"]["name"] == "gateway":
            line = await self.says("probing")
            return int(str(line["port"]))
        return int(str((await self.says("ready"))["probe_port"]))

    async def answers(self, path: str) -> int:
        """The status with which the internal port answers."""
        return await asyncio.to_thread(status_of, f"http://127.0.0.1:{await self.probe_port()}{path}")

    async def terminated(self) -> float:
        """Send SIGTERM as the kubelet does, and return after how many seconds it ended in order."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(self.grace):
            assert await self.process.wait() == 0
        return time.monotonic() - began


def status_of(url: str) -> int:
    """Ask as the holder of the first API key."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {first_key()}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


@contextlib.asynccontextmanager
async def started(
    objects: list[Manifest], tier: str, redis_url: str, folder: Path, **changes: str
) -> AsyncIterator[Pod]:
    """Start a tier's process with its manifest's variables, but on free ports of loopback.

    What the manifest mounts of Secrets lies in ``folder``.
    """
    workload = named(objects, "Deployment", tier)
    given = environment(objects, containers(workload)[0])
    here = {"HOST": "127.0.0.1", "PORT": "0", "PROBE_HOST": "127.0.0.1", "PROBE_PORT": "0"}
    if given.get("API_KEYS_FILE"):
        here["API_KEYS_FILE"] = str(folder / "keys")
        (folder / "keys").write_text(secrets()["tokenwire-keys"]["keys"])
    environ = os.environ | given | {name: value for name, value in here.items() if name in given}
    pipes = {"gateway": {"stdout": asyncio.subprocess.PIPE}, "worker": {"stderr": asyncio.subprocess.PIPE}}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", tier, env=environ | {"REDIS_URL": redis_url} | changes, **pipes[tier]
    )
    pod = Pod(process, workload)
    stream = process.stdout or process.stderr
    assert stream is not None
    pod.reading = asyncio.create_task(pod.read(stream))
    try:
        yield pod
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await pod.reading
