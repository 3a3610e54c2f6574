from __future__ import annotations

from tokenwire.audit.evidence import Evidence, percentile
from tokenwire.audit.schedule import Fault


def test_the_evidence_of_several_acts_adds_up():
    killed, frozen = Fault.KILL_SERVER, Fault.FREEZE_WORKER
    one = Evidence(strikes={killed: 1}, hits={killed: 4}, pauses={killed: [3.0]}, resumes=2)
    one.add(
        Evidence(
            strikes={killed: 1, frozen: 1}, hits={killed: 5, frozen: 1}, pauses={killed: [4.0]}, resumes=3
        )
    )
    assert one.strikes == {killed: 2, frozen: 1}
    assert one.hits == {killed: 9, frozen: 1}
    assert one.pauses == {killed: [3.0, 4.0]}
    assert one.resumes == 5


def test_a_kind_of_kill_that_hit_too_few_proves_nothing_and_one_hit_is_enough_of_the_others():
    evidence = Evidence(
        strikes={Fault.KILL_WORKER: 3, Fault.POISON: 1}, hits={Fault.KILL_WORKER: 19, Fault.POISON: 1}
    )
    assert evidence.thin() == ["kill worker: 19 running responses hit in 3 strikes, 20 needed"]
    assert evidence.thin(least=19) == []
    evidence.hits[Fault.POISON] = 0
    assert evidence.thin(least=19) == ["poison prompt: 0 running responses hit in 1 strikes, 1 needed"]


def test_percentiles_are_by_nearest_rank():
    values = [float(n) for n in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.95), percentile([], 0.5)) == (51.0, 96.0, 0.0)
