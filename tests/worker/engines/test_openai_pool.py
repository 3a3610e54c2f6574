"""Which upstream is asked."""

from __future__ import annotations

from worker.engines.openai.pool import Upstream, choose, wakes_at


def pair():
    return Upstream("one"), Upstream("two")


def test_the_least_loaded_is_asked_and_of_equals_the_one_asked_least():
    one, two = pair()
    assert choose([one, two], 0.0) is one
    one.running = 1
    assert choose([one, two], 0.0) is two
    two.running, two.asked, one.asked = 1, 5, 6
    assert choose([one, two], 0.0) is two


def test_one_that_fails_rests_longer_each_time_and_is_tried_again():
    one, two = pair()
    one.failed(100.0)
    assert choose([one, two], 100.1) is two
    assert choose([one, two], 100.3) is one
    pauses = []
    for _ in range(12):
        one.failed(0.0)
        pauses.append(one.rests_until)
    assert pauses == sorted(pauses)
    assert pauses[-1] == 10.0
    one.worked()
    assert (one.failures, one.rests_until) == (0, 0.0)


def test_a_pause_that_is_asked_for_is_kept_within_reason():
    one, _ = pair()
    one.failed(0.0, 7.0)
    assert one.rests_until == 7.0
    one.failed(0.0, 7000.0)
    assert one.rests_until == 60.0


def test_a_pause_that_was_asked_for_outlasts_answers_that_were_under_way():
    one, two = pair()
    one.failed(0.0, 7.0)
    one.worked()
    assert choose([one, two], 6.9) is two
    one.failed(1.0)  # one more that was under way breaks off
    one.worked()
    assert (choose([one, two], 6.9), choose([one], 7.1)) == (two, one)
    one.failed(8.0)
    one.worked()
    assert choose([one], 8.0) is one


def test_while_all_rest_the_first_to_wake_is_known():
    one, two = pair()
    one.failed(0.0, 5.0)
    two.failed(0.0, 3.0)
    assert choose([one, two], 1.0) is None
    assert wakes_at([one, two]) == 3.0
