"""Processes that are started as a manifest says: its variables, its probes, its grace period."""

from __future__ import annotations

import asyncio
import contextlib
import os
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from manifests import Manifest, containers, environment, first_key, named, pod_of, secrets
from tier_process import TierProcess

PATIENCE = 60.0
"""Seconds after which something that must happen has not."""


@dataclass
class Pod(TierProcess):
    """One process and the workload that it is a pod of."""

    patience: float = PATIENCE
    workload: Manifest = field(kw_only=True)

    @property
    def grace(self) -> float:
        """Seconds from SIGTERM to SIGKILL, as the manifest says."""
        return float(pod_of(self.workload)["terminationGracePeriodSeconds"])

    @property
    def container(self) -> Manifest:
        return containers(self.workload)[0]

    async def probe_port(self) -> int:
        if self.workload["metadata"]["name"] == "gateway":
            line = await self.says("probing")
            return int(str(line["port"]))
        return int(str((await self.says("ready"))["probe_port"]))

    async def answers(self, path: str) -> int:
        """The status with which the internal port answers."""
        return await asyncio.to_thread(status_of, f"http://127.0.0.1:{await self.probe_port()}{path}")

    async def terminated(self) -> float:
        """Return after how many seconds of its grace it ended in order."""
        return await self.told_to_stop(self.grace)


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
    pod = await Pod.started(tier, environ | {"REDIS_URL": redis_url} | changes, workload=workload)
    try:
        yield pod
    finally:
        await pod.killed()
