from __future__ import annotations

import json

import pytest
from auditing import audited

from tokenwire.audit.acts import ACTS, chosen
from tokenwire.audit.findings import hits, spelled
from tokenwire.audit.schedule import FLEET_FAULTS, SERVER_FAULTS, Fault


def test_every_kind_of_strike_at_a_server_has_its_act():
    planned = {strike.fault for act in ACTS for strike in act.strikes}
    assert planned | {Fault.EVICTING} == set(SERVER_FAULTS)
    assert set(SERVER_FAULTS) | set(FLEET_FAULTS) == set(Fault)


def test_only_the_acts_of_the_wanted_strikes_are_performed():
    [act] = chosen(frozenset({Fault.LOSE_TAIL, Fault.EVICTING}))
    assert [strike.fault for strike in act.strikes] == [Fault.LOSE_TAIL]
    assert act.lossy


def test_nothing_may_be_lost_where_the_server_is_asked_to_stop():
    [act] = chosen(frozenset({Fault.RESTART_SERVER}))
    assert not act.lossy


def test_strikes_in_an_act_leave_time_for_what_they_did_to_be_seen():
    for act in ACTS:
        ends = [strike.at + strike.seconds for strike in act.strikes]
        assert max(ends) < act.seconds - 2
        assert all(b.at > end for b, end in zip(act.strikes[1:], ends, strict=False))


def test_a_strike_names_the_partitions_that_it_hits():
    one, ten = f"resp_001{'ab' * 16}", f"resp_00a{'ab' * 16}"
    assert hits("", one)
    assert hits("worker-1.ab", one)
    assert hits(spelled([10, 2]), ten)
    assert not hits(spelled([10, 2]), one)


@pytest.mark.audit
async def test_a_killed_and_an_evicting_server_break_no_promise(tmp_path):
    report = tmp_path / "report.json"
    faults = "kill server,evicting server"
    code, said = await audited("--suite", "redis", "--faults", faults, "--json", str(report), seconds=240)
    found = json.loads(report.read_text())
    assert found["violations"] == [], said
    assert found["evidence"]["hits"]["evicting server"] == 2, said
    assert found["evidence"]["hits"]["kill server"] > 0, said
    assert code == found["code"], said
