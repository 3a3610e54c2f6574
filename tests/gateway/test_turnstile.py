from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.turnstile import MOST_SECONDS, Turnstile


def test_one_seconds_worth_comes_in_at_once_and_then_so_many_a_second():
    turnstile = Turnstile(10.0)
    assert [turnstile.enter(100.0) for _ in range(11)] == [None] * 10 + [1]
    assert [turnstile.enter(100.125), turnstile.enter(100.125)] == [None, 1]
    assert [turnstile.enter(101.5) for _ in range(11)].count(None) == 10


def test_a_crowd_is_told_to_come_back_spread_over_the_time_that_serving_it_takes():
    turnstile = Turnstile(10.0)
    told = [turnstile.enter(0.0) for _ in range(60)]
    assert told[:10] == [None] * 10
    assert [told.count(seconds) for seconds in (1, 2, 3, 4, 5)] == [10] * 5


def test_nobody_is_told_to_wait_for_longer_than_a_bound():
    turnstile = Turnstile(1.0)
    assert max(filter(None, (turnstile.enter(0.0) for _ in range(1000)))) == MOST_SECONDS


@given(
    st.floats(min_value=1.0, max_value=1000.0),
    st.lists(st.floats(min_value=0.0, max_value=2.0), max_size=200),
)
def test_over_any_time_no_more_come_in_than_the_rate_and_one_seconds_worth(rate, pauses):
    turnstile, now, entered = Turnstile(rate), 0.0, 0
    for pause in pauses:
        now += pause
        entered += turnstile.enter(now) is None
    assert entered <= rate * now + max(1.0, rate) + 1e-6
