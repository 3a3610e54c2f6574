"""Choose each sequence's next token from its logits.  Rows do not influence each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shared.request import Sampling
from worker.sampling import uniform

_LIKELY = (128, 1024, 8192)
"""Tokens looked at, and of the rows for which that is too few, before the whole vocabulary is sorted."""
_BLOCK = 64
"""Tokens of which the largest stands for all, while the largest of a row are looked for."""


@dataclass(frozen=True, slots=True)
class Draw:
    """How one row is chosen; ``u`` in [0, 1) is its random number, unused when greedy."""

    temperature: float
    top_p: float
    u: float

    @classmethod
    def at(cls, sampling: Sampling, position: int) -> Draw:
        """Return the draw for the generated token at ``position``."""
        greedy = sampling.temperature == 0.0
        return cls(sampling.temperature, sampling.top_p, 0.0 if greedy else uniform(sampling.seed, position))


@dataclass(frozen=True, slots=True)
class Penalty:
    """What is taken off one row's logits for the ids ``generated`` before."""

    row: int
    frequency: float
    presence: float
    generated: Sequence[int]


def penalised(logits: Tensor, penalties: Sequence[Penalty]) -> Tensor:
    """Return ``logits`` [R, vocabulary] less the penalties, by the formula of the OpenAI API.

    Each id loses ``frequency`` for every time it was generated, and ``presence`` once if it was.
    """
    if not penalties:
        return logits
    counts = logits.new_zeros((len(penalties), logits.shape[-1]), dtype=torch.float32)
    at = [at for at, penalty in enumerate(penalties) for _ in penalty.generated]
    ids = [token_id for penalty in penalties for token_id in penalty.generated]
    places = tuple(torch.tensor(each, dtype=torch.long, device=logits.device) for each in (at, ids))
    counts.index_put_(places, counts.new_ones(len(ids)), accumulate=True)
    frequency = counts.new_tensor([penalty.frequency for penalty in penalties])[:, None]
    presence = counts.new_tensor([penalty.presence for penalty in penalties])[:, None]
    rows = torch.tensor([penalty.row for penalty in penalties], device=logits.device)
    less = logits.to(torch.float32, copy=True)
    less[rows] -= frequency * counts + presence * (counts > 0)
    return less


def restricted(logits: Tensor, masks: Mapping[int, bytes]) -> Tensor:
    """Return ``logits`` [R, vocabulary] where a row with a mask can choose only tokens whose byte is not 0."""
    if not masks:
        return logits
    allowed = torch.stack([torch.frombuffer(bytearray(mask), dtype=torch.uint8) for mask in masks.values()])
    rows = torch.tensor(list(masks), device=logits.device)
    less = logits.clone()
    less[rows] = less[rows].masked_fill(allowed.to(logits.device) == 0, float("-inf"))
    return less


@dataclass(frozen=True, slots=True)
class Told:
    """The logprob of a row's chosen id, and the likeliest ids with theirs."""

    logprob: float
    top: tuple[tuple[int, float], ...]


def logprobs(logits: Tensor, chosen: Sequence[int], most: int) -> list[Told]:
    """Return the logprobs of each row's chosen id and of its ``most`` likeliest ids, equals by token id.

    Of equals of which not all are told, any may be.  They are the model's own: of the distribution before penalties, temperature and top-p.
    """
    own = torch.log_softmax(logits.double(), dim=-1)
    mine = own.gather(-1, torch.tensor(chosen, device=own.device)[:, None])[:, 0].tolist()
    order = _top(own, most)
    ranked = own.gather(-1, order).tolist()
    tops = [tuple(zip(ids, told, strict=True)) for ids, told in zip(order.tolist(), ranked, strict=True)]
    return [Told(logprob, top) for logprob, top in zip(mine, tops, strict=True)]


def choose(logits: Tensor, draws: Sequence[Draw]) -> list[int | None]:
    """Return a token id for each row of ``logits`` [R, vocabulary]; None where they are not numbers.

    A greedy row takes the largest logit.  Any other inverts the cumulative distribution of its tokens,
    sorted by falling probability, at ``u`` of the mass kept by top-p (Holtzman et al., "The curious case of
    neural text degeneration", ICLR 2020).  Equals are ordered by token id.
    """
    largest, best = logits.max(dim=-1)  # of equals the first
    sound = largest.isfinite().tolist()
    chosen: list[int | None] = list(best.tolist())
    drawn = [row for row, draw in enumerate(draws) if draw.temperature > 0.0 and sound[row]]
    if drawn:
        for row, token_id in zip(drawn, _invert(logits[drawn], [draws[row] for row in drawn]), strict=True):
            chosen[row] = token_id
    return [token_id if sound[row] else None for row, token_id in enumerate(chosen)]


def _invert(logits: Tensor, draws: Sequence[Draw]) -> list[int]:
    """Invert the cumulative distribution of each row, among its likely tokens where that is enough."""
    probabilities = _probabilities(logits, draws)
    tokens, rows = [0] * len(draws), list(range(len(draws)))
    for most in (*(most for most in _LIKELY if most < logits.shape[-1]), None):
        these = probabilities if len(rows) == len(draws) else probabilities[rows]
        picked, settled = _pick(these, _ranked(these, most), [draws[row] for row in rows])
        for row, token_id in zip(rows, picked, strict=True):
            tokens[row] = token_id
        rows = [row for row, enough in zip(rows, settled, strict=True) if not enough]
        if not rows:
            break
    return tokens


def _ranked(probabilities: Tensor, most: int | None) -> Tensor:
    """Return the indices of the ``most`` likeliest tokens, or of all, likeliest first, equals by token id."""
    if most is None:
        return probabilities.argsort(dim=-1, descending=True, stable=True)
    return _top(probabilities, most)


def _probabilities(logits: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Return softmax at each row's temperature, in float64.

    The largest logit is taken off first: however small the temperature, it stays 0 and nothing overflows.
    """
    largest = logits.amax(dim=-1, keepdim=True).double()
    wide = logits.double().sub_(largest)
    temperatures = wide.new_tensor([draw.temperature for draw in draws])[:, None]
    return torch.softmax(wide.div_(temperatures), dim=-1)


def _top(probabilities: Tensor, most: int) -> Tensor:
    """Return the indices of the likeliest tokens, likeliest first, equals by token id."""
    order = _largest(probabilities, min(most, probabilities.shape[-1])).sort(dim=-1).values
    ranks = probabilities.gather(-1, order).argsort(dim=-1, descending=True, stable=True)
    return order.gather(-1, ranks)


def _largest(values: Tensor, most: int) -> Tensor:
    """Return the indices of the ``most`` largest values of each row, in any order.

    They lie in the blocks with the ``most`` largest maxima, and behind the last whole block: a fraction to look through.
    """
    blocks = values.shape[-1] // _BLOCK
    if blocks < 4 * most:
        return values.topk(most, dim=-1, sorted=False).indices
    tops = values[:, : blocks * _BLOCK].reshape(len(values), blocks, _BLOCK).amax(dim=-1)
    best = tops.topk(most, dim=-1, sorted=False).indices
    within = torch.arange(_BLOCK, device=values.device)
    rest = torch.arange(blocks * _BLOCK, values.shape[-1], device=values.device)
    inside = (best[:, :, None] * _BLOCK + within).flatten(start_dim=1)
    places = torch.cat([inside, rest.expand(len(values), -1)], dim=-1)
    among = values.gather(-1, places).topk(most, dim=-1, sorted=False).indices
    return places.gather(-1, among)


def _pick(probabilities: Tensor, order: Tensor, draws: Sequence[Draw]) -> tuple[list[int], list[bool]]:
    """Choose among ``order`` [R, K]; also say where the rest of the vocabulary could not change the choice.

    That is where what is chosen and what is kept both end before the least likely of ``order``, of whose
    equals some may be missing.
    """
    ranked = probabilities.gather(-1, order)
    mass = ranked.cumsum(dim=-1)
    top_p = mass.new_tensor([draw.top_p for draw in draws])[:, None]
    u = mass.new_tensor([draw.u for draw in draws])[:, None]
    inside = (mass - ranked < top_p) & (ranked > 0.0)  # the smallest set that reaches top_p, never empty
    last = inside.sum(dim=-1, keepdim=True) - 1
    kept = torch.where(top_p < 1.0, mass.gather(-1, last), 1.0)
    index = torch.searchsorted(mass, u * kept, right=True).minimum(last)
    least = ranked[:, -1:]
    settled = (ranked.gather(-1, index) > least) & ((top_p >= 1.0) | ~inside[:, -1:])
    return order.gather(-1, index)[:, 0].tolist(), settled[:, 0].tolist()
