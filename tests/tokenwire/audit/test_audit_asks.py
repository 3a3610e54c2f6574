from __future__ import annotations

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from tokenwire.audit.asks import Doing, Load, asks, burst


def test_a_client_asks_the_same_again_with_the_same_seed():
    assert list(islice(asks(3, 7, Load()), 50)) == list(islice(asks(3, 7, Load()), 50))
    assert next(asks(3, 7, Load())).key != next(asks(3, 8, Load())).key


def test_clients_do_everything_that_users_do():
    doings = {ask.doing for client in range(20) for ask in islice(asks(1, client, Load()), 50)}
    assert doings == set(Doing) - {Doing.POISON}


@given(st.integers(0, 1000), st.booleans())
def test_every_act_is_due_before_the_answer_is_over(client, words):
    for ask in islice(asks(1, client, Load(words=words)), 10):
        assert all(1 <= mark <= ask.max_tokens for mark in ask.marks)
        assert ask.stop_strings or not words


def test_many_of_a_burst_stop_while_they_wait():
    found = [burst(1, 30.0, client, Load()) for client in range(200)]
    stops = [ask for ask in found if ask.doing is Doing.STOP]
    assert 30 < len(stops) < 100
    assert all(ask.marks == (1,) for ask in stops)
    assert len({ask.key for ask in found}) == 200
