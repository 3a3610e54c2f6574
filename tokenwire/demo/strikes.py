"""What the buttons do to the fleet behind the page."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from tokenwire.plan import Role
from tokenwire.processes import Fleet, Member

FREEZE_SECONDS = 2.0

Read = Callable[[int], Awaitable[str]]
"""Reads a page of metrics from a probe port of loopback."""


@dataclass(frozen=True, slots=True)
class Strikes:
    """Strikes at a running fleet; each says in a sentence what it did."""

    fleet: Fleet
    read: Read

    async def strike(self, fault: str) -> str | None:
        """Do what a button says; None if there is no such button."""
        match fault:
            case "kill-worker":
                return await self._kill(Role.WORKER, "tokenwire_engine_sequences_running")
            case "kill-gateway":
                return await self._kill(Role.GATEWAY, "tokenwire_connections")
            case "freeze-redis":
                return await self._freeze()
        return None

    async def _kill(self, role: Role, gauge: str) -> str:
        """Kill the process that has the most to do: it is the one that the page depends on."""
        loads = [(await self._load(member, gauge), member) for member in self.fleet.members(role)]
        _, member = max(loads, key=lambda each: each[0])
        pid = member.pid
        member.send(signal.SIGKILL)
        return f"{member.name} (process {pid}) killed"

    async def _load(self, member: Member, gauge: str) -> float:
        try:
            page = await self.read(member.probe_port or 0)
        except OSError:  # it was killed a moment ago
            return -1.0
        families = text_string_to_metric_families(page)
        return sum(each.value for family in families for each in family.samples if each.name == gauge)

    async def _freeze(self) -> str:
        for member in self.fleet.members(Role.SERVER):
            member.send(signal.SIGSTOP)
        try:
            await asyncio.sleep(FREEZE_SECONDS)
        finally:
            for member in self.fleet.members(Role.SERVER):
                member.send(signal.SIGCONT)
        return f"Redis was frozen for {FREEZE_SECONDS:g} s"
