from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from tokenwire.audit.asks import Load
from tokenwire.audit.crowds import Plan
from tokenwire.audit.facts import Struck
from tokenwire.audit.findings import Promise, Rules
from tokenwire.audit.report import Outcome
from tokenwire.audit.run import Audit, _asked_twice, _crashes
from tokenwire.audit.schedule import Fault, Strike
from tokenwire.audit.transcript import Viewing
from tokenwire.errors import CommandError


def made(strikes: list[Strike], tmp_path, seconds: float = 0.05) -> Audit:
    plan = Plan(1, seconds, 4, Load(), strikes, 8)
    return Audit(plan, Rules(), tmp_path, Outcome(1, seconds, 4, "again"), lambda _line: None)


async def struck(audit: Audit, strike) -> None:
    said = []
    crowds = SimpleNamespace(say=lambda word, crowds=2: said.append((word, crowds)))
    await audit._strike_all(SimpleNamespace(strike=strike), crowds, asyncio.Event())


async def test_what_goes_wrong_in_a_strike_is_one_sentence(tmp_path):
    async def broken(_strike: Strike) -> None:
        raise CommandError("worker-1 did not start: no memory")

    with pytest.raises(CommandError, match="worker-1 did not start"):
        await struck(made([Strike(0.0, Fault.KILL_WORKER)], tmp_path), broken)


async def test_a_strike_that_finds_nobody_is_counted(tmp_path):
    async def nobody(_strike: Strike) -> None:
        return None

    audit = made([Strike(0.0, Fault.KILL_WORKER), Strike(0.01, Fault.KILL_GATEWAY)], tmp_path)
    await struck(audit, nobody)
    assert audit._outcome.skipped == 2


def test_one_key_has_one_response():
    def viewing(viewer: int) -> Viewing:
        return Viewing("key", viewer, "plain", "", 1, 0.0)

    keys: dict[str, str] = {}
    assert _asked_twice(keys, "first", [viewing(0), viewing(1)]) == []
    assert [violation.promise for violation in _asked_twice(keys, "second", [viewing(0)])] == [
        Promise.ONE_ENDING
    ]


def test_a_process_that_ends_by_itself_is_a_violation_unless_it_was_poisoned():
    deaths = [Struck(Fault.POISON, "worker-1", 1.0, 2.0, exit_code=code) for code in (70, 1, -11)]
    assert [violation.detail for violation in _crashes(deaths)] == ["exit code 1", "exit code -11"]
