from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenwire.audit.schedule import (
    FLEET_FAULTS,
    GATEWAY_FAULTS,
    QUIET_END,
    QUIET_START,
    WORKER_FAULTS,
    Fault,
    Shape,
    strikes,
)


@given(st.integers(0, 10_000), st.floats(30, 600))
def test_a_seed_is_a_schedule(seed, seconds):
    shape = Shape(seconds)
    planned = strikes(seed, shape)
    assert planned == strikes(seed, shape)
    assert [strike.at for strike in planned] == sorted(strike.at for strike in planned)
    assert all(QUIET_START <= strike.at <= seconds - QUIET_END for strike in planned)


def test_another_seed_is_another_schedule():
    assert strikes(1, Shape(120)) != strikes(2, Shape(120))


@pytest.mark.parametrize("seed", range(10))
def test_two_minutes_hold_every_kind_of_fault(seed):
    assert {strike.fault for strike in strikes(seed, Shape(120))} == set(FLEET_FAULTS)


@pytest.mark.parametrize("seed", range(10))
def test_forty_seconds_hold_every_kind_of_fault_at_a_worker(seed):
    planned = [strike.fault for strike in strikes(seed, Shape(40, spacing=3))]
    assert set(WORKER_FAULTS) <= set(planned)
    assert set(GATEWAY_FAULTS) <= set(planned)


@given(st.integers(0, 1000))
def test_strikes_follow_each_other_at_other_processes_of_the_tier(seed):
    at_workers = [strike for strike in strikes(seed, Shape(120)) if strike.fault.on_worker]
    assert all(one.target != two.target for one, two in pairwise(at_workers))


@given(st.integers(0, 1000))
def test_a_frozen_worker_sleeps_past_its_lease(seed):
    frozen = [s for s in strikes(seed, Shape(120, lease=3)) if s.fault is Fault.FREEZE_WORKER]
    assert frozen
    assert all(strike.seconds > 3.5 for strike in frozen)


def test_only_the_named_kinds_are_used():
    planned = strikes(1, Shape(120, faults=frozenset({Fault.KILL_WORKER})))
    assert {strike.fault for strike in planned} == {Fault.KILL_WORKER}
