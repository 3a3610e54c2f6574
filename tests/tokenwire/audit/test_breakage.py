"""Every guard is taken out once: the audit must see it in its own promise's row, or it could see nothing.

Those that ``QUICK`` names run always; all of them with ``BREAKAGE=all`` (``make audit-breakage``).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tokenwire.audit.findings import Promise

HOOK = Path(__file__).parents[2] / "support" / "breakage"

pytestmark = pytest.mark.audit


@dataclass(frozen=True)
class Breakage:
    guard: str
    promise: Promise
    faults: str
    """What brings it to light."""
    kinds: tuple[str, ...]
    """Of the violations, at least one must be seen."""
    seconds: int = 18
    clients: int = 40
    settings: dict[str, str] = field(default_factory=dict)


CASES = [
    # Without a window between claim and first append it proves nothing: prefill stretches it until what
    # the old owner had sent arrives.
    Breakage(
        "claimed entry",
        Promise.NO_ZOMBIE,
        "hold worker link",
        ("position doubled in the log",),
        settings={"ECHO_PREFILL_SECONDS": "2.5"},
        seconds=24,
    ),
    Breakage("duplicate drop", Promise.SAME_TEXT, "cut live link,kill gateway", ("doubled",)),
    Breakage("gap repair", Promise.SAME_TEXT, "drop live messages", ("lost",)),
    Breakage("tail repair", Promise.SAME_TEXT, "cut worker link", ("not what an undisturbed run says",)),
    Breakage("any gateway", Promise.ANY_GATEWAY, "kill gateway", ("resume refused",)),
    Breakage(
        "held-back state",
        Promise.PAUSE,
        "kill worker,drain worker",
        ("not what an undisturbed run says",),
        settings={"MARK": "0"},
    ),
    Breakage("ending re-check", Promise.ONE_ENDING, "drop live messages", ("ending not told",), seconds=24),
    Breakage("usage", Promise.ONE_ENDING, "kill gateway", ("usage is not the log's",)),
    Breakage("orphan rule", Promise.STOP, "cut live link", ("orphan not stopped",), seconds=15, clients=60),
    Breakage("bound", Promise.DOOR, "overload burst", ("bound passed",), settings={"SLOTS": "16"}),
    Breakage("retry time", Promise.DOOR, "overload burst", ("refused without a retry time",)),
    Breakage(
        "suspect rule",
        Promise.NEIGHBOURS,
        "poison prompt",
        ("failed with its neighbour's poison",),
        settings={"ECHO_PREFILL_SECONDS": "3", "WORKERS": "2"},
        seconds=24,
    ),
    Breakage("merge numbering", Promise.NEIGHBOURS, "cut live link", ("lost",)),
    Breakage("drain", Promise.DEPLOYS, "drain worker", ("pause too long",)),
    Breakage("restart code", Promise.DEPLOYS, "drain gateway", ("closed as done",)),
    Breakage("expiry", Promise.NOTHING_LEFT, "cut live link", ("left over",), seconds=12),
]
QUICK = ("claimed entry", "duplicate drop", "drain")


def chosen() -> list[Breakage]:
    wanted = os.environ.get("BREAKAGE", "")
    if wanted == "all":
        return CASES
    names = wanted.split(",") if wanted else QUICK
    return [case for case in CASES if case.guard in names]


async def audited(case: Breakage, guard: str, report: Path) -> dict:
    """Run an audit with one guard out of all its processes and return its report."""
    paths = os.pathsep.join(filter(None, (str(HOOK), os.environ.get("PYTHONPATH"))))
    audit = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "tokenwire", "audit", "--faults", case.faults),
        *("--minutes", str(case.seconds / 60), "--clients", str(case.clients), "--json", str(report)),
        env={**os.environ, **case.settings, "PYTHONPATH": paths, "BREAKAGE": guard},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(audit.communicate(), 240)
    assert report.exists(), said.decode()
    return json.loads(report.read_text())


@pytest.mark.parametrize("case", chosen(), ids=lambda case: case.guard.replace(" ", "-"))
async def test_a_broken_guard_turns_its_promise_red(case, tmp_path):
    report = await audited(case, case.guard, tmp_path / "report.json")
    seen = {(violation["promise"], violation["kind"]) for violation in report["violations"]}
    assert seen & {(case.promise.value, kind) for kind in case.kinds}, sorted(seen)
    assert report["code"] == 1


def test_every_promise_has_a_guard_that_is_broken():
    assert {case.promise for case in CASES} == set(Promise)
