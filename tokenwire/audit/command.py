"""`tokenwire audit`: the proof, run on this machine or at a deployment of one's own."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from shared.lifecycle import run
from shared.settings import read
from tokenwire.audit.acts import perform
from tokenwire.audit.asks import Load
from tokenwire.audit.crowds import Plan
from tokenwire.audit.findings import Rules
from tokenwire.audit.fleet import AuditFleet
from tokenwire.audit.fleet_shape import FleetShape
from tokenwire.audit.model import compare
from tokenwire.audit.report import Outcome, as_json, render
from tokenwire.audit.run import Audit
from tokenwire.audit.schedule import FLEET_FAULTS, SERVER_FAULTS, Fault, Shape, strikes
from tokenwire.audit.settings import AuditSettings
from tokenwire.errors import CommandError
from tokenwire.options import add_options, environ_with
from tokenwire.plan import Role
from tokenwire.readiness import Say

_SHORT = 60.0
"""Below so many seconds strikes follow each other faster and clients do not pause."""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_options(parser, AuditSettings)


def command_audit(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Run an audit and print its report; return its exit code.  Raises SettingsError or CommandError."""
    settings = read(AuditSettings, environ_with(options, AuditSettings, environ))
    outcome = Outcome(settings.seed, settings.minutes * 60, settings.clients, replay(settings))
    say = teller(live=sys.stderr.isatty())
    tried = suite if settings.suite == "redis" else audit
    if settings.engine != "echo":
        tried = with_model
    code = run(lambda stop: tried(settings, environ, outcome, stop, say))
    sys.stdout.write(f"\n{render(outcome)}")
    if settings.json is not None:
        settings.json.write_bytes(as_json(outcome))
    return code or outcome.code


async def audit(
    settings: AuditSettings, environ: Mapping[str, str], outcome: Outcome, stop: asyncio.Event, say: Say
) -> None:
    """Run one audit into ``outcome``.  Raises CommandError if it cannot be run."""
    rules = Rules(lease=settings.lease, slots=settings.slots, mark=settings.mark)
    outcome.bound = rules.bound
    plan = plan_of(settings)
    folder = Path(tempfile.mkdtemp(prefix="tw-audit-"))
    try:
        tried = Audit(plan, rules, folder, outcome, say)
        if settings.url:
            outcome.remarks.append("a running deployment: nothing was killed, and its store was not asked")
            await tried.on_url(settings.url, stop)
            return
        shape = FleetShape(
            settings.workers,
            settings.gateways,
            rules,
            environ,
            seed=settings.seed,
            roots=roots_of(settings),
        )
        await tried.on_fleet(AuditFleet(shape, folder, say), stop)
    finally:
        _keep(folder, settings.transcripts)


async def suite(
    settings: AuditSettings, environ: Mapping[str, str], outcome: Outcome, stop: asyncio.Event, say: Say
) -> None:
    """Run the suite of Redis faults into ``outcome``.  Raises CommandError if it cannot be run."""
    wanted = _faults(settings.faults, SERVER_FAULTS)
    shape = FleetShape(
        settings.workers, settings.gateways, Rules(), environ, seed=settings.seed, roots=roots_of(settings)
    )
    rules = Rules(lease=settings.lease, slots=settings.slots, mark=settings.mark)
    folder = Path(tempfile.mkdtemp(prefix="tw-audit-"))
    try:
        await perform(wanted, shape, rules, folder, outcome, stop, say)
    finally:
        _keep(folder, settings.transcripts)


async def with_model(
    settings: AuditSettings, environ: Mapping[str, str], outcome: Outcome, stop: asyncio.Event, say: Say
) -> None:
    """Compare a real model's answers over two killed workers with undisturbed ones, into ``outcome``.

    Raises CommandError if it cannot be run.
    """
    folder = Path(tempfile.mkdtemp(prefix="tw-audit-"))
    try:
        await compare(settings.seed, settings.lease, environ, folder, outcome, stop, say)
    finally:
        _keep(folder, settings.transcripts)


def _keep(folder: Path, kept: Path | None) -> None:
    """Keep the transcripts and logs if somebody wants them, and remove the folder."""
    if kept is not None:
        shutil.copytree(folder, kept, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.sock"))
    shutil.rmtree(folder)


def roots_of(settings: AuditSettings) -> dict[Role, Path]:
    """Return the checkouts that tiers are run from, if not from this one.

    Raises CommandError for a folder that holds no such tier.
    """
    roots = {Role.GATEWAY: settings.gateway_root, Role.WORKER: settings.worker_root}
    for role, root in roots.items():
        if root is not None and not (root / role.value / "__main__.py").is_file():
            name = f"{role.value.upper()}_ROOT"
            raise CommandError(
                f"{name} is {root}, where there is no {role.value}: name a checkout of Tokenwire."
            )
    return {role: root.resolve() for role, root in roots.items() if root is not None}


def plan_of(settings: AuditSettings) -> Plan:
    """Plan strikes and load.  Raises CommandError for a kind of fault that there is not."""
    seconds = settings.minutes * 60
    short = seconds < _SHORT
    shape = Shape(
        seconds=seconds,
        workers=settings.workers,
        gateways=settings.gateways,
        lease=settings.lease,
        spacing=3.0 if short else 5.0,
        faults=_faults(settings.faults, FLEET_FAULTS),
    )
    room = settings.workers * settings.slots
    return Plan(
        seed=settings.seed,
        seconds=seconds,
        clients=settings.clients,
        load=Load(think=0.1 if short else 2.0, words=not settings.mark),
        strikes=strikes(settings.seed, shape),
        burst=room + 64,
        key=settings.key,
    )


def _faults(named: tuple[str, ...], there: Sequence[Fault]) -> frozenset[Fault]:
    known = {fault.value: fault for fault in there}
    unknown = [name for name in named if name not in known]
    if unknown:
        raise CommandError(f"There is no strike {unknown[0]!r}; FAULTS may name: {', '.join(known)}.")
    return frozenset(known[name] for name in named) or frozenset(there)


def replay(settings: AuditSettings) -> str:
    """Return the command that runs the same schedule again."""
    words = [
        f"tokenwire audit --seed {settings.seed} --minutes {settings.minutes:g} --clients {settings.clients}",
        f"--gateways {settings.gateways} --workers {settings.workers} --slots {settings.slots}",
    ]
    if settings.engine != "echo":
        words.append(f"--engine {settings.engine}")
    if settings.suite != "fleet":
        words.append(f"--suite {settings.suite}")
    if not settings.mark:
        words.append("--mark 0")
    if settings.faults:
        words.append(f"--faults '{','.join(settings.faults)}'")
    return " ".join(words)


def teller(*, live: bool) -> Say:
    """Return what shows progress: one line written over again on a terminal, else a line every ten seconds."""
    told = [0.0]

    def say(line: str) -> None:
        now = time.monotonic()
        if live:
            sys.stderr.write(f"\r\033[K{line[:160]}")
        elif now - told[0] >= 10 or not line[:4].strip().isdigit():
            told[0] = now
            sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    return say
