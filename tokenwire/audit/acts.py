"""The suite of Redis faults: act by act another kind of servers, struck under a fleet and its clients."""

from __future__ import annotations

import asyncio
import time
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tokenwire.audit.asks import Load
from tokenwire.audit.crowds import Plan
from tokenwire.audit.evidence import Evidence
from tokenwire.audit.findings import Promise, Rules, Violation
from tokenwire.audit.fleet import AuditFleet
from tokenwire.audit.fleet_shape import FleetShape
from tokenwire.audit.one_server import Single, evicts
from tokenwire.audit.report import Outcome
from tokenwire.audit.run import Audit
from tokenwire.audit.schedule import Fault, Strike
from tokenwire.audit.several_servers import Clustered, Sentinelled
from tokenwire.audit.site import Site
from tokenwire.errors import REFUSED
from tokenwire.plan import Process
from tokenwire.readiness import Say

CLIENTS = 80
"""Clients at once, at most."""
_LOAD = Load(least_tokens=150, most_tokens=400, think=0.2, quick=True)
"""Answers of several seconds: most are running whenever a server is struck."""
_REFUSAL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Act:
    """One kind of servers and what strikes them."""

    site: Callable[[int], Site]
    """Makes the servers, from the seed."""
    seconds: float
    strikes: tuple[Strike, ...]
    lossy: bool = False
    """What the servers had acknowledged may be lost."""
    full: bool = False
    """Their memory is full for a while."""


def _single(_seed: int) -> Site:
    return Single()


def _sentinelled(_seed: int) -> Site:
    return Sentinelled()


ACTS = (
    Act(
        _single,
        19.0,
        (
            Strike(3.0, Fault.RESTART_SERVER),
            Strike(7.0, Fault.SLOW_SERVER, seconds=2.0),
            Strike(11.0, Fault.CUT_SUBSCRIBERS, seconds=2.0),
            Strike(14.0, Fault.OVERRUN_SUBSCRIBER, seconds=2.5),
        ),
    ),
    Act(
        _single,
        18.0,
        (Strike(3.0, Fault.KILL_SERVER, seconds=1.0), Strike(9.0, Fault.LOSE_TAIL)),
        lossy=True,
    ),
    Act(_single, 11.0, (Strike(3.0, Fault.FILL_MEMORY, seconds=2.0),), full=True),
    Act(_sentinelled, 13.0, (Strike(3.0, Fault.FAIL_OVER),), lossy=True),
    Act(
        Clustered,
        16.0,
        (Strike(3.0, Fault.MOVE_SLOTS, target=6), Strike(8.0, Fault.LOSE_NODE, seconds=1.5)),
        lossy=True,
    ),
)


def chosen(wanted: frozenset[Fault]) -> Iterator[Act]:
    """Return the acts that hold wanted strikes, each with these alone."""
    for act in ACTS:
        strikes = tuple(strike for strike in act.strikes if strike.fault in wanted)
        if strikes:
            yield replace(act, strikes=strikes)


async def perform(  # noqa: PLR0913, PLR0917 - what a command hands down
    wanted: frozenset[Fault],
    shape: FleetShape,
    rules: Rules,
    folder: Path,
    outcome: Outcome,
    stop: asyncio.Event,
    say: Say,
) -> None:
    """Perform the acts one after the other into one outcome.  Raises CommandError if one cannot be run."""
    outcome.clients, outcome.seconds, outcome.bound = min(outcome.clients, CLIENTS), 0.0, rules.bound
    for n, act in enumerate(chosen(wanted)):
        if stop.is_set():
            return
        say(f"act {n + 1}: {', '.join(strike.fault for strike in act.strikes)}")
        place = folder / f"act-{n + 1}"
        place.mkdir()
        ruled = replace(rules, lossy=act.lossy, full=act.full)
        plan = Plan(shape.seed, act.seconds, outcome.clients, _LOAD, act.strikes, burst=0)
        fleet = AuditFleet(replace(shape, rules=ruled), place, say, act.site(shape.seed))
        outcome.seconds += act.seconds
        await Audit(plan, ruled, place, outcome, say).on_fleet(fleet, stop)
    if Fault.EVICTING in wanted and not stop.is_set():
        say(f"the last act: {Fault.EVICTING}")
        await _refused_by_all(shape, folder, outcome, say)


async def _refused_by_all(shape: FleetShape, folder: Path, outcome: Outcome, say: Say) -> None:
    """Start a worker and a gateway on a server that drops keys: both must refuse, and say what to set."""
    server = evicts()
    node = await asyncio.to_thread(server.__enter__)
    try:
        processes = AuditFleet(shape, folder, say, Single(node)).planned()
        said = await asyncio.gather(*(_last_words(process) for process in processes[:1] + processes[-1:]))
    finally:
        await asyncio.to_thread(server.__exit__, None, None, None)
    refused = [code == REFUSED and "maxmemory-policy noeviction" in words for code, words in said]
    outcome.evidence.add(Evidence(strikes={Fault.EVICTING: len(said)}, hits={Fault.EVICTING: sum(refused)}))
    for (code, words), right in zip(said, refused, strict=True):
        if not right:
            detail = f"exit {code}: {words[-300:]}"
            outcome.violations.append(
                Violation(Promise.SAME_TEXT, "started on a server that evicts", "-", detail)
            )


async def _last_words(process: Process) -> tuple[int | None, str]:
    """Run a process that should end by itself; return its exit code (None: it did not end) and what it said."""
    running = await asyncio.create_subprocess_exec(
        *process.argv, env=process.environ, stdout=PIPE, stderr=STDOUT
    )
    began = time.monotonic()
    try:
        async with asyncio.timeout(_REFUSAL_SECONDS):
            said, _ = await running.communicate()
    except TimeoutError:
        running.kill()
        await running.wait()
        return None, f"it was still there after {time.monotonic() - began:.0f} s"
    return running.returncode, said.decode(errors="replace")
