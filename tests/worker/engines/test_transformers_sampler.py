"""Choosing from logits, against the rule written plainly."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.request import Sampling
from worker.engines.transformers import sampler
from worker.engines.transformers.sampler import (
    Draw,
    Penalty,
    _largest,
    choose,
    logprobs,
    penalised,
    restricted,
)
from worker.sampling import uniform

ROWS = st.lists(
    st.integers(-6, 6).map(lambda n: n / 2), min_size=2, max_size=12
)  # halves, so that ties are common
DRAWS = st.builds(
    Draw,
    st.sampled_from([0.0, 1e-300, 0.3, 1.0, 5.0]),
    st.sampled_from([1e-9, 0.1, 0.5, 0.9, 1.0]),
    st.floats(0, 1, exclude_max=True),
)


def plainly(logits, draw):
    """Sort, keep, walk along the cumulative mass."""
    if draw.temperature == 0.0:
        return max(range(len(logits)), key=lambda i: (logits[i], -i))
    top = max(logits)
    weights = [math.exp((value - top) / draw.temperature) for value in logits]
    total = math.fsum(weights)
    ranked = sorted(((weight / total, -i) for i, weight in enumerate(weights)), reverse=True)
    kept, mass = [], 0.0
    for probability, token_id in ranked:
        if mass >= draw.top_p or probability == 0.0:
            break
        kept.append((probability, -token_id))
        mass += probability
    target, walked = draw.u * (mass if draw.top_p < 1 else 1.0), 0.0
    for probability, token_id in kept:
        walked += probability
        if walked > target + 1e-12:
            return token_id
    return kept[-1][1]


@given(st.lists(st.tuples(ROWS, DRAWS), min_size=1, max_size=5))
@settings(deadline=None)
def test_each_row_is_chosen_as_the_plain_rule_says(rows):
    width = max(len(row) for row, _ in rows)
    padded = [row + [-1000.0] * (width - len(row)) for row, _ in rows]
    chosen = choose(torch.tensor(padded), [draw for _, draw in rows])
    for row, (_, draw), got in zip(padded, rows, chosen, strict=True):
        near = {plainly(row, Draw(draw.temperature, draw.top_p, draw.u + d)) for d in (-1e-9, 0.0, 1e-9)}
        assert got in near  # at a border between two tokens, rounding may choose either


def many(rows=6, vocabulary=3000, spread=3.0):
    generator = torch.Generator().manual_seed(rows)
    logits = torch.randn(rows, vocabulary, generator=generator) * spread
    return (logits * 8).round() / 8  # ties


@pytest.mark.parametrize("spread", [0.05, 1.0, 6.0])
@pytest.mark.parametrize("top_p", [0.3, 0.95, 1.0])
def test_looking_at_likely_tokens_first_changes_no_choice(monkeypatch, spread, top_p):
    logits = many(rows=60, spread=spread)
    draws = [Draw(1.0, top_p, uniform(1, n)) for n in range(60)]
    quick = choose(logits, draws)
    monkeypatch.setattr(sampler, "_LIKELY", ())
    assert quick == choose(logits, draws)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 2**20))
@settings(deadline=None)
def test_the_largest_of_a_row_are_found_block_by_block(blocks, most, seed):
    generator = torch.Generator().manual_seed(seed)
    width = 64 * blocks + seed % 64
    values = torch.randn(3, width, generator=generator).round(decimals=1)  # ties
    values[1] = values[1].sort().values  # all of them in the last blocks
    most = min(most, width)
    found = _largest(values, most)
    assert all(len(set(row)) == most for row in found.tolist())
    assert torch.equal(values.gather(-1, found).sort(descending=True).values, values.topk(most).values)


def test_rows_do_not_influence_each_other():
    logits = many()
    draws = [Draw(0.0 if n % 2 else 0.8, 0.9, uniform(9, n)) for n in range(6)]
    alone = [choose(logits[n : n + 1], [draws[n]])[0] for n in range(6)]
    assert choose(logits, draws) == alone


def test_greedy_takes_the_lower_id_of_equals():
    assert choose(torch.tensor([[0.0, 7.0, 7.0, 1.0]]), [Draw(0.0, 1.0, 0.0)]) == [1]


def test_equals_are_walked_by_token_id():
    row = torch.zeros(1, 4)
    assert [choose(row, [Draw(1.0, 1.0, u)])[0] for u in (0.0, 0.26, 0.51, 0.99)] == [0, 1, 2, 3]


def test_a_token_without_any_probability_is_never_chosen():
    row = torch.tensor([[0.0, float("-inf"), 0.0]])
    assert choose(row, [Draw(1.0, 1.0, 1.0 - 2.0**-53)]) == [2]


def test_frequencies_follow_the_probabilities():
    row = torch.tensor([[math.log(0.5), math.log(0.3), math.log(0.2)]]).expand(5000, 3)
    chosen = choose(row, [Draw(1.0, 1.0, uniform(3, n)) for n in range(5000)])
    shares = [chosen.count(token_id) / 5000 for token_id in range(3)]
    assert all(abs(share - wanted) < 0.03 for share, wanted in zip(shares, (0.5, 0.3, 0.2), strict=True))


def test_each_id_generated_before_loses_what_the_formula_says_and_no_other_does():
    logits = many(rows=3, vocabulary=50)
    before = logits.clone()
    one, two = [3, 3, 7], [0] * 4
    less = penalised(logits, [Penalty(0, 0.5, 1.0, one), Penalty(2, -0.25, 0.0, two)])
    expected = before.clone()
    for row, frequency, presence, generated in ((0, 0.5, 1.0, one), (2, -0.25, 0.0, two)):
        for token_id in set(generated):
            expected[row, token_id] -= frequency * generated.count(token_id) + presence
    assert torch.allclose(less, expected, atol=1e-6)
    assert torch.equal(logits, before)  # logprobs are told of what the model said
    assert torch.equal(penalised(logits, []), before)
    assert torch.equal(penalised(logits, [Penalty(1, 1.0, 1.0, [])]), before)


def test_logprobs_are_the_models_own_and_equals_stand_by_token_id():
    logits = torch.tensor([[0.0, 1.0, 1.0, -math.inf], [5.0, 0.0, 0.0, 0.0]])
    first, second = logprobs(logits, [3, 1], 3)
    total = math.log(1 + 2 * math.e)
    assert first.logprob == -math.inf
    assert [token_id for token_id, _ in first.top] == [1, 2, 0]
    assert [logprob for _, logprob in first.top] == pytest.approx([1 - total, 1 - total, -total])
    assert second.logprob == pytest.approx(-math.log(math.exp(5) + 3))
    assert second.top[0][0] == 0
    assert {logprob for _, logprob in second.top[1:]} == {second.logprob}
    assert logprobs(logits[1:], [0], 0)[0].top == ()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_row_that_is_not_numbers_chooses_nothing_and_harms_no_other(bad, temperature):
    logits = torch.tensor([[0.0, 5.0], [bad, 1.0], [5.0, 0.0]])
    assert choose(logits, [Draw(temperature, 0.5, 0.1)] * 3) == [1, None, 0]


def test_a_draw_depends_on_seed_and_position_and_greedy_needs_none():
    sampling = Sampling(max_tokens=1, seed=4, temperature=0.7, top_p=0.8)
    assert Draw.at(sampling, 3) == Draw(0.7, 0.8, uniform(4, 3))
    assert Draw.at(Sampling(max_tokens=1, seed=4, temperature=0.0), 3).u == 0.0


def test_a_row_with_a_mask_chooses_among_what_it_allows_and_no_other_row_is_touched():
    logits = torch.tensor([[1.0, 5.0, 3.0], [1.0, 5.0, 3.0], [1.0, 5.0, 3.0]])
    before = logits.clone()
    masked = restricted(logits, {0: bytes([200, 0, 200]), 2: bytes([200, 0, 0])})
    assert choose(masked, [Draw(0.0, 1.0, 0.0)] * 3) == [2, 1, 0]
    assert torch.equal(logits, before)
    assert torch.equal(masked[1], before[1])
    assert choose(masked[:1], [Draw(1.0, 1.0, 0.999)]) == [0]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_row_whose_mask_allows_nothing_chooses_nothing_and_harms_no_other(temperature):
    masked = restricted(torch.tensor([[1.0, 5.0], [5.0, 1.0]]), {0: bytes(2)})
    assert choose(masked, [Draw(temperature, 0.5, 0.1)] * 2) == [None, 0]


def test_without_a_mask_the_logits_are_the_same_tensor():
    logits = torch.zeros(2, 3)
    assert restricted(logits, {}) is logits
