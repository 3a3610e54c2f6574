"""docs/reliability.md has a row for each promise, fault, guard and strike that the code knows."""

from __future__ import annotations

import re
from pathlib import Path

from breakage_cases import CASES

from tokenwire.audit.schedule import Fault

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "reliability.md").read_text()


def test_every_promise_and_every_fault_has_its_row():
    assert [f"P{n}" for n in range(1, 10)] == re.findall(r"^\| (P\d) \|", PAGE, re.MULTILINE)
    assert [f"F{n}" for n in range(1, 22)] == re.findall(r"^\| (F\d+) \|", PAGE, re.MULTILINE)


def test_every_broken_guard_is_on_the_page():
    table = PAGE.split("### Proved able to see")[1].split("###")[0]
    rows = re.findall(r"^\| (?!guard|---)([^|]+) \| ([^|]+) \| ([^|]+) \|$", table, re.MULTILINE)
    assert len(rows) == len(CASES)
    said = {kind for _, _, kinds in rows for kind in kinds.split(", ")}
    assert {kind for case in CASES for kind in case.kinds} == said


def test_the_kinds_of_strikes_that_the_page_names_exist():
    kinds = {fault.value for fault in Fault}
    named = set(re.findall(r"`((?:kill|freeze|drain|cut|hold|delay|drop|poison|overload) [a-z ]+)`", PAGE))
    assert named <= kinds | {"kill worker,drain gateway"}
    assert len(named) > 8
