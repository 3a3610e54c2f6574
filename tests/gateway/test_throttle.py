from hypothesis import given
from hypothesis import strategies as st

from gateway import throttle
from gateway.throttle import Throttle


def test_so_many_failures_pass_and_then_one_has_to_wait():
    made = Throttle(3)
    for _ in range(3):
        assert made.wait("a", 0.0) == 0
        made.failed("a", 0.0)
    assert made.wait("a", 0.0) == 20
    assert made.wait("a", 20.0) == 0
    assert made.wait("b", 0.0) == 0


def test_a_minute_of_silence_forgets_all_failures():
    made = Throttle(3)
    for _ in range(3):
        made.failed("a", 0.0)
    assert [made.wait("a", 60.0) for _ in range(3)] == [0, 0, 0]


@given(st.lists(st.floats(0, 5), max_size=80), st.integers(1, 10))
def test_who_waits_as_told_fails_no_oftener_than_allowed(pauses, most):
    made, now, failures = Throttle(most), 0.0, []
    for pause in pauses:
        now += pause + made.wait("a", now + pause)
        made.failed("a", now)
        failures.append(now)
    for first in failures:
        assert sum(first <= at < first + 60 - 1e-6 for at in failures) < 2 * most


def test_remembered_addresses_are_bounded(monkeypatch):
    monkeypatch.setattr(throttle, "_MOST_ADDRESSES", 2)
    made = Throttle(1)
    for address in "abc":
        made.failed(address, 0.0)
    assert made.wait("a", 0.0) == 0
    assert made.wait("b", 0.0) == made.wait("c", 0.0) == 60
