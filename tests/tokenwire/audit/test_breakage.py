"""Every guard is taken out once: the audit must see it in its own promise's row, or it could see nothing.

Those that ``QUICK`` names run always; all of them with ``BREAKAGE=all`` (``make audit-breakage``).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from breakage_cases import CASES, Breakage

from tokenwire.audit.findings import Promise

HOOK = Path(__file__).parents[2] / "support" / "breakage"

pytestmark = pytest.mark.audit


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
