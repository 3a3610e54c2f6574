"""What an audit starts: how many processes, under which rules, and the plan of each."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tokenwire import plan
from tokenwire.audit.findings import Rules
from tokenwire.plan import Process, Role
from tokenwire.settings import UpSettings
from tokenwire.up import free_ports

_DRAIN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class FleetShape:
    """What is started."""

    workers: int
    gateways: int
    rules: Rules
    environ: Mapping[str, str]
    """What the processes inherit; the rules stand above it."""
    engine: str = "echo"
    echo_rate: float = 50.0
    seed: int = 1
    roots: Mapping[Role, Path] = field(default_factory=dict)
    """Checkouts that a tier is run from, if not from this one: two versions share one log."""
    start_seconds: float = 60.0
    """What a process gets to be ready; a real model is loaded meanwhile."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings of the processes that stand above all else."""

    @property
    def model(self) -> str:
        """Name of the model that is served."""
        return plan.model_name(self._settings())

    def planned(self, redis_url: str, partitions: int) -> list[Process]:
        """Plan the processes as `tokenwire up` does, workers first, each gateway with a port of its own."""
        settings, environ = self._settings(), self._environ(partitions)
        ports = free_ports(self.workers + 2 * self.gateways)
        probes = ports[: self.workers + self.gateways]
        workers = plan.workers(
            settings,
            environ,
            redis_url=redis_url,
            run=secrets.token_hex(2),
            processors=os.cpu_count() or 1,
            ports=probes[: self.workers],
        )
        gateways = plan.gateways(
            settings, environ, redis_url=redis_url, page=None, ports=probes[self.workers :]
        )
        doors = ports[self.workers + self.gateways :]
        drain = {"DRAIN_SECONDS": str(_DRAIN_SECONDS), "ROUTING_SECONDS": "0.5"}
        older = {role: {"PYTHONPATH": str(root)} for role, root in self.roots.items()}
        extra = {role: drain | older.get(role, {}) for role in (Role.WORKER, Role.GATEWAY)}
        return [replace(each, environ={**each.environ, **extra[each.role]}) for each in workers] + [
            replace(each, environ={**each.environ, **extra[each.role], "PORT": str(port), "REUSE_PORT": "0"})
            for each, port in zip(gateways, doors, strict=True)
        ]

    def _settings(self) -> UpSettings:
        return UpSettings(
            workers=self.workers,
            gateways=self.gateways,
            engine=self.engine,
            slots=self.rules.slots,
            cache_dir=Path(self.environ.get("CACHE_DIR", ".cache")),
        )

    def _environ(self, partitions: int) -> dict[str, str]:
        rules = self.rules
        return {
            **self.environ,
            "LEASE_SECONDS": str(rules.lease),
            "ATTACHMENT_SECONDS": str(rules.attachment),
            "KEEP_SECONDS": str(rules.keep),
            "WAITING_BOUND": str(rules.bound),
            "PARTITIONS": str(partitions),
            "ECHO_RATE": str(self.echo_rate),
            "ECHO_MARK": str(int(rules.mark)),
            "ECHO_POISON": "1",
            "SLOTS": str(rules.slots),
            "MODEL_NAME": "",
            **self.settings,
        }
