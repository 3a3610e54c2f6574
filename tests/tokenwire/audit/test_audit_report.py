from __future__ import annotations

import json

from tokenwire.audit.command import replay
from tokenwire.audit.evidence import Evidence
from tokenwire.audit.findings import Promise, Violation
from tokenwire.audit.report import BROKEN, KEPT, THIN, Outcome, as_json, render
from tokenwire.audit.schedule import Fault
from tokenwire.audit.settings import AuditSettings


def outcome(**changes) -> Outcome:
    evidence = Evidence(hits={Fault.KILL_WORKER: 30}, strikes={Fault.KILL_WORKER: 2})
    evidence.pauses = {Fault.KILL_WORKER: [1.0, 2.0, 3.0]}
    fields = {"responses": 9, "viewings": 10, "events": 99, "evidence": evidence}
    return Outcome(7, 120.0, 200, "tokenwire audit --seed 7", **(fields | changes))


def test_every_promise_has_its_row_and_its_evidence():
    text = render(outcome())
    assert all(promise.value in text for promise in Promise)
    assert "kill worker" in text
    assert "2.00 / 3.00 / 3.00" in text
    assert "seed 7: every promise kept (0 violations)" in text
    assert outcome().code == KEPT


def test_a_violation_names_the_response_and_how_to_replay_it():
    broken = outcome(violations=[Violation(Promise.STOP, "late stop", "resp_1", "2 s")] * 12)
    text = render(broken)
    assert "VIOLATION P6 stop means stop: late stop: resp_1 2 s" in text
    assert "... and 2 more" in text
    assert "replay the schedule with: tokenwire audit --seed 7" in text
    assert broken.code == BROKEN


def test_too_little_evidence_is_neither_kept_nor_broken():
    thin = outcome(evidence=Evidence(hits={Fault.KILL_WORKER: 3}, strikes={Fault.KILL_WORKER: 1}))
    assert thin.code == THIN
    assert "kill worker: 3 running responses hit in 1 strikes, 20 needed" in render(thin)
    assert outcome(responses=0).code == THIN


def test_a_program_reads_the_same():
    found = json.loads(as_json(outcome(violations=[Violation(Promise.STOP, "late stop", "resp_1")])))
    assert found["violations"][0]["promise"] == Promise.STOP.value
    assert (found["code"], found["seed"], found["evidence"]["hits"]) == (1, 7, {"kill worker": 30})


def test_the_command_that_replays_says_all_that_matters():
    settings = AuditSettings(
        seed=4, minutes=1.5, clients=30, mark=False, faults=("kill worker", "poison prompt")
    )
    assert replay(settings) == (
        "tokenwire audit --seed 4 --minutes 1.5 --clients 30 --gateways 2 --workers 3 --slots 64 "
        "--mark 0 --faults 'kill worker,poison prompt'"
    )
