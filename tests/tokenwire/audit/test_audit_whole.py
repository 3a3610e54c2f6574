from __future__ import annotations

from dataclasses import replace

import pytest
from histories import history_of, log_of, viewing_of

from shared.log import Reason
from tokenwire.audit.facts import Fact, Owned, Stopped, Struck, Watched, fact
from tokenwire.audit.findings import Promise, Rules, spelled
from tokenwire.audit.schedule import Fault
from tokenwire.audit.transcript import Stall, Stay, Stop
from tokenwire.audit.whole import Whole

RULES = Rules(slots=2)


def made(response_id: str = "r", **changes) -> Fact:
    fields = {
        "response_id": response_id,
        "doing": "plain",
        "owned": (),
        "watched": (),
        "stopped": None,
        "left_at": 0.0,
        "ended": 50.0,
        "reason": Reason.LENGTH,
        "ids": 10,
        "resumes": 0,
        "elsewhere": 0,
        "merged": 0,
    }
    return Fact(**(fields | changes))


def weighed(facts, struck=(), stalls=(), rules=RULES) -> Whole:
    whole = Whole(list(facts), list(struck), list(stalls), rules)
    whole.weigh()
    return whole


def kinds(whole: Whole) -> set[tuple[Promise, str]]:
    return {(violation.promise, violation.kind) for violation in whole.violations}


def handed(seen: float, owner: str = "a") -> Fact:
    """Owned by ``owner`` from 0, then by another worker that was seen at ``seen``."""
    return made(owned=(Owned(owner, 0.0, seen, True, seen), Owned("b", seen, 50.0, False, 0.0)))


IDLE = made("idle", owned=(Owned("c", 0.0, 0.1, False, 0.0),))
"""Makes a third worker known, which has room."""


@pytest.mark.parametrize(
    ("fault", "seconds", "promise"),
    [
        (Fault.KILL_WORKER, 5.1, Promise.PAUSE),
        (Fault.FREEZE_WORKER, 5.1, Promise.PAUSE),
        (Fault.DRAIN_WORKER, 1.6, Promise.DEPLOYS),
    ],
)
def test_a_pause_over_its_limit_with_a_slot_free_is_a_violation(fault, seconds, promise):
    struck = [Struck(fault, "a", 10.0, 11.0)]
    assert kinds(weighed([handed(10.0 + seconds), IDLE], struck)) == {(promise, "pause too long")}
    assert kinds(weighed([handed(10.0 + seconds - 0.2), IDLE], struck)) == set()


def test_a_pause_without_a_free_slot_is_counted_apart():
    busy = [made(f"b{n}", owned=(Owned(owner, 0.0, 50.0, False, 0.0),)) for n, owner in enumerate("bbcc")]
    whole = weighed([handed(16.0), *busy], [Struck(Fault.KILL_WORKER, "a", 10.0, 40.0)])
    assert (kinds(whole), whole.evidence.crowded_pauses) == (set(), [6.0])


def test_a_pause_while_the_machine_stood_still_is_counted_apart():
    struck = [Struck(Fault.KILL_WORKER, "a", 10.0, 11.0)]
    whole = weighed([handed(15.5), IDLE], struck, [Stall(12.0, 13.0)])
    assert (kinds(whole), whole.evidence.crowded_pauses) == (set(), [5.5])


def test_the_first_deadly_strike_is_the_cause_of_a_pause():
    struck = [
        Struck(Fault.DELAY_WORKER_LINK, "a", 9.0, 10.0),
        Struck(Fault.POISON, "a", 10.0, 10.5),
        Struck(Fault.DRAIN_WORKER, "a", 11.0, 12.0),
    ]
    whole = weighed([handed(13.5), IDLE], struck)
    assert whole.evidence.pauses == {Fault.POISON: [3.5]}
    assert whole.violations == []


def test_running_responses_are_counted_where_they_were_hit():
    watched = Watched("1", 5.0, 20.0, 1006, ours=False, slow=False, unseen=0.0)
    facts = [made("r", owned=(Owned("a", 5.0, 20.0, False, 0.0),), watched=(watched,))]
    struck = [
        Struck(Fault.KILL_WORKER, "a", 10.0, 11.0),
        Struck(Fault.KILL_WORKER, "a", 30.0, 31.0),
        Struck(Fault.KILL_GATEWAY, "1", 10.0, 11.0),
        Struck(Fault.KILL_GATEWAY, "0", 10.0, 11.0),
    ]
    evidence = weighed(facts, struck).evidence
    assert evidence.hits == {Fault.KILL_WORKER: 1, Fault.KILL_GATEWAY: 1}
    assert evidence.strikes == {Fault.KILL_WORKER: 2, Fault.KILL_GATEWAY: 2}
    assert len(evidence.thin()) == 2


def stopped(**changes) -> Fact:
    fields = {
        "at": 10.0,
        "seen": 10.05,
        "gateways": ("0",),
        "owner": "a",
        "tokens": 1,
        "queued": False,
        "freed": 10.1,
        "ended": 10.02,
        "one_socket": True,
    }
    return made(stopped=Stopped(**(fields | changes)), ended=10.02, reason=Reason.CANCELLED)


def test_a_stop_in_time_is_evidence():
    evidence = weighed([stopped()]).evidence
    assert evidence.stop_delays == [pytest.approx(0.05)]
    assert evidence.freed == [pytest.approx(0.08)]


def test_an_ending_that_comes_late_after_a_stop_breaks_p6():
    assert kinds(weighed([stopped(seen=11.5)])) == {(Promise.STOP, "late stop")}


def test_a_slot_that_is_freed_late_breaks_p6():
    assert kinds(weighed([stopped(freed=12.0)])) == {(Promise.STOP, "slot freed late")}


def test_a_stop_through_a_struck_gateway_is_counted_apart():
    whole = weighed([stopped(seen=11.5)], [Struck(Fault.FREEZE_GATEWAY, "0", 10.01, 11.4)])
    assert (kinds(whole), whole.evidence.troubled_stops) == (set(), [1.5])


def test_an_orphan_that_runs_on_breaks_p6():
    assert kinds(weighed([made(left_at=10.0, ended=26.0)])) == {(Promise.STOP, "orphan not stopped")}
    assert kinds(weighed([made(left_at=10.0, ended=14.0)])) == set()


def closed(code: int, at: float = 12.0, **changes) -> Fact:
    fields = {"ours": False, "slow": False, "unseen": 0.0}
    return made(watched=(Watched("0", 5.0, at, code, **(fields | changes)),))


def test_a_close_as_done_in_mid_answer_breaks_p9():
    assert kinds(weighed([closed(1000)])) == {(Promise.DEPLOYS, "closed as done")}


def test_a_drain_must_say_goodbye():
    drain = [Struck(Fault.DRAIN_GATEWAY, "0", 10.0, 14.0, exit_seconds=3.0)]
    assert kinds(weighed([closed(1006)], drain)) == {(Promise.DEPLOYS, "cut by a drain")}
    assert weighed([closed(1012)], drain).evidence.restarts == 1
    assert kinds(weighed([closed(1006)])) == set()  # nobody drained: it was killed


@pytest.mark.parametrize(("seconds", "code"), [(11.0, 0), (1.0, -9)])
def test_a_drain_that_ends_badly_breaks_p9(seconds, code):
    drain = [Struck(Fault.DRAIN_WORKER, "a", 10.0, 14.0, exit_seconds=seconds, exit_code=code)]
    assert kinds(weighed([], drain)) == {(Promise.DEPLOYS, "drain worker ended badly")}


def test_a_socket_that_stands_on_without_the_ending_breaks_p5():
    silent = closed(0, at=60.0, ours=True, unseen=6.0)
    assert kinds(weighed([silent])) == {(Promise.ONE_ENDING, "ending not told")}
    assert kinds(weighed([silent], [Struck(Fault.FREEZE_GATEWAY, "0", 55.0, 58.0)])) == set()


def test_facts_come_from_logs_and_transcripts():
    log = log_of(8, handed_after=4, reason=Reason.CANCELLED)
    viewing = viewing_of(
        log,
        stays=[Stay(0, 99.0, -2, 100.05, 1006, in_flight=True), Stay(1, 100.1, 3, 200.0)],
        stops=[Stop(100.12, "same", 1, said=True)],
    )
    found = fact(history_of(log, viewing), {viewing.response_id: 7.0})
    assert [(owned.owner, owned.handed) for owned in found.owned] == [("w", True), ("w", False)]
    assert (found.resumes, found.elsewhere) == (1, 1)
    assert found.stopped is not None
    assert found.stopped.freed == 7.0
    assert [(w.gateway, w.code, w.ours) for w in found.watched] == [("0", 1006, False), ("1", 0, True)]


PAUSED = (Owned("a", 0.0, 50.0, False, 0.0),)


def outage(end: float, fault: Fault = Fault.KILL_SERVER, target: str = "") -> Struck:
    return Struck(fault, target, 10.0, end)


@pytest.mark.parametrize(("until", "broken"), [(19.5, False), (20.5, True)])
def test_an_answer_that_stands_still_for_longer_than_an_outage_accounts_for_breaks_p3(until, broken):
    each = made(owned=PAUSED, silences=((9.9, until),))
    whole = weighed([each], [outage(12.0)])  # two seconds, two leases, and the slack
    assert ((Promise.PAUSE, "pause too long") in kinds(whole)) is broken
    assert whole.evidence.pauses[Fault.KILL_SERVER] == [pytest.approx(until - 10.0)]
    assert whole.evidence.hits[Fault.KILL_SERVER] == 1


def test_a_strike_at_some_partitions_hits_what_lies_there_alone():
    here, there = (f"resp_{partition:03x}{'ab' * 16}" for partition in (3, 4))
    facts = [made(here, owned=PAUSED), made(there, owned=PAUSED)]
    whole = weighed(facts, [outage(12.0, Fault.LOSE_NODE, spelled([3, 7]))])
    assert whole.evidence.hits[Fault.LOSE_NODE] == 1


def test_a_lost_tail_that_nobody_had_seen_proves_nothing():
    struck = [outage(12.0, Fault.LOSE_TAIL, "a")]
    many = [made(f"r{n}", owned=PAUSED) for n in range(30)]
    assert any("nobody had seen" in line for line in weighed(many, struck).evidence.thin())
    assert weighed([*many, made("told", told_lost=1)], struck).evidence.thin() == []


def test_who_left_before_an_outage_is_judged_after_viewers_could_come_back():
    limit = RULES.keep + RULES.attachment + 2 * RULES.lease + 2.0
    each = made(owned=PAUSED, left_at=9.0, ended=9.0 + limit + 1.0)
    assert (Promise.STOP, "orphan not stopped") in kinds(weighed([each]))
    assert (Promise.STOP, "orphan not stopped") not in kinds(weighed([each], [outage(12.0)]))


def left_while(*stays: Stay):
    log = log_of(6, reason=Reason.LEFT)
    log.entries[-1] = replace(log.entries[-1], at=150_000)
    viewing = viewing_of(log, stays=list(stays), over="left")
    return fact(history_of(log, viewing), {})


def test_an_ending_as_left_while_somebody_watches_breaks_p6():
    wrong = (Promise.STOP, "ended as left while watched")
    assert wrong in kinds(weighed([left_while(Stay(0, 99.0, -2))]))
    assert wrong not in kinds(weighed([left_while(Stay(0, 99.0, -2, 140.0))]))


def test_who_comes_back_to_a_gateway_that_is_struck_just_then_is_not_known_to_be_back():
    wrong = (Promise.STOP, "ended as left while watched")
    each = left_while(Stay(0, 99.0, -2, 140.0), Stay(1, 148.0, 5))
    assert wrong in kinds(weighed([each], [Struck(Fault.FREEZE_GATEWAY, "0", 148.2, 151.0)]))
    assert wrong not in kinds(weighed([each], [Struck(Fault.FREEZE_GATEWAY, "1", 148.2, 151.0)]))


def test_only_who_is_on_the_way_excuses_a_pause():
    struck = [Struck(Fault.KILL_WORKER, "a", 10.0, 11.0)]
    wrong = (Promise.PAUSE, "pause too long")
    for who, broken in (("b", False), ("", False), ("a", True), ("c", True)):
        whole = weighed([handed(15.6), IDLE], struck, [Stall(11.0, 13.0, who)])
        assert (wrong in kinds(whole)) is broken, who


def test_what_several_waited_at_once_counts_once():
    whole = weighed([], [], [Stall(1.0, 2.0), Stall(1.5, 3.0, "b"), Stall(1.6, 1.9, "c")])
    assert whole.evidence.stalled == 2.0
