"""Random numbers by (seed, position)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.request import Sampling
from worker.sampling import mix, refusal, uniform

SEEDS = st.integers(-(2**70), 2**70)


def test_the_hash_is_splitmix64():
    """The first outputs for seed 1234567 as the reference code prints them."""
    gamma = 0x9E3779B97F4A7C15
    outputs = [mix(1234567 + n * gamma) for n in (1, 2, 3)]
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(SEEDS, st.integers(0, 2**40))
def test_a_number_is_in_the_unit_interval_and_always_the_same(seed, position):
    number = uniform(seed, position)
    assert 0.0 <= number < 1.0
    assert number == uniform(seed, position)


def test_the_numbers_of_one_seed_are_spread_evenly():
    tenths = [0] * 10
    for position in range(10_000):
        tenths[int(uniform(42, position) * 10)] += 1
    assert max(abs(count - 1000) for count in tenths) < 120  # four standard deviations


def test_neighbouring_seeds_do_not_share_numbers():
    first = {uniform(1, position) for position in range(1000)}
    assert first.isdisjoint(uniform(2, position) for position in range(1000))


def test_a_seed_is_not_another_one_shifted():
    gamma = 0x9E3779B97F4A7C15
    assert uniform(5, 1) != uniform(5 + gamma, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"frequency_penalty": 2.5},
        {"presence_penalty": float("nan")},
        {"top_logprobs": 21},
    ],
)
def test_wrong_parameters_are_refused_with_a_sentence(wrong):
    assert "must be" in refusal(Sampling(max_tokens=1, seed=1, **wrong))


def test_ordinary_parameters_are_not_refused():
    assert refusal(Sampling(max_tokens=1, seed=1, temperature=0.0, top_p=0.1)) is None
