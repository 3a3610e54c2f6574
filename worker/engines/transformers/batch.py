"""One step's tokens packed into a single row, and the attention that keeps their sequences apart.

All linear layers see [1, T] tokens of all sequences without padding.  Only attention knows sequences: the
function below is registered with transformers' attention interface and gets the batch as a keyword that the
model hands down (the way of transformers' own continuous batching).  Sequences with one token are computed
together over their slots' rows, each longer chunk by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from worker.engines.transformers.cache import KVCache

ATTENTION = "tokenwire"
"""Name of the attention function in transformers' registry."""


@dataclass(frozen=True, slots=True)
class Part:
    """One sequence's tokens in a step: ``ids`` at positions from ``start`` on, kept in ``slot``."""

    slot: int
    start: int
    ids: list[int]
    chooses: bool
    """Whether its last token's logits are wanted."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Several tokens of one sequence: ``begin:end`` in the pack, seeing ``length`` positions of the slot."""

    slot: int
    begin: int
    end: int
    length: int


class Batch:
    """The parts of one step, packed: those with a single token first, then the longer ones."""

    def __init__(self, parts: Sequence[Part], cache: KVCache, device: torch.device) -> None:
        self.cache = cache
        self._device = device
        singles = [part for part in parts if len(part.ids) == 1]
        longer = [part for part in parts if len(part.ids) > 1]
        packed = singles + longer
        self.choosing = [part for part in packed if part.chooses]
        self.singles = len(singles)
        self.longest = max((part.start + 1 for part in singles), default=0)
        self.chunks = list(_chunks(longer, self.singles))
        self.ids = self._tensor([token_id for part in packed for token_id in part.ids])
        self.positions = self._tensor([part.start + i for part in packed for i in range(len(part.ids))])
        self.slots = self._tensor([part.slot for part in packed for _ in part.ids])
        self.rows = _rows(singles, self.slots)
        ends = accumulate(len(part.ids) for part in packed)
        self._last = self._tensor([end - 1 for part, end in zip(packed, ends, strict=True) if part.chooses])
        self._masks: dict[tuple[int, int | None], Tensor] = {}

    def forward(self, model: Any) -> Tensor:
        """Run the model and return the logits [C, vocabulary] of ``choosing``, in that order."""
        output = model(
            input_ids=self.ids[None],
            position_ids=self.positions[None],
            use_cache=False,
            logits_to_keep=self._last,
            tokenwire_batch=self,
        )
        logits: Tensor = output.logits[0]
        return logits

    def single_mask(self, like: Tensor, window: int | None) -> Tensor:
        """Return what each single token may see, [singles, 1, 1, longest]: 0 or minus infinity."""
        own = self.positions[: self.singles, None]
        return self._mask((-1, window), own, self.longest, like)[:, None, None]

    def chunk_mask(self, index: int, like: Tensor, window: int | None) -> Tensor:
        """Return what each token of a chunk may see, [tokens, end of the chunk]."""
        chunk = self.chunks[index]
        own = self.positions[chunk.begin : chunk.end, None]
        return self._mask((index, window), own, chunk.length, like)

    def _mask(self, name: tuple[int, int | None], own: Tensor, length: int, like: Tensor) -> Tensor:
        """Make a mask once per step; every layer of the same window uses it."""
        if name not in self._masks:
            seen = torch.arange(length, device=self._device)
            hidden = seen > own
            if name[1] is not None:
                hidden |= seen <= own - name[1]
            mask = torch.zeros(hidden.shape, dtype=like.dtype, device=self._device)
            self._masks[name] = mask.masked_fill_(hidden, float("-inf"))
        return self._masks[name]

    def _tensor(self, numbers: list[int]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.long).to(self._device, non_blocking=True)


def _chunks(parts: Sequence[Part], begin: int) -> Iterator[_Chunk]:
    for part in parts:
        end = begin + len(part.ids)
        yield _Chunk(part.slot, begin, end, part.start + len(part.ids))
        begin = end


def _rows(singles: Sequence[Part], slots: Tensor) -> slice | Tensor:
    """Say which rows of the cache the single tokens read, by ascending slot.

    A view if the slots are neighbours, else an index, which copies.
    """
    if not singles:
        return slice(0, 0)
    first, last = singles[0].slot, singles[-1].slot
    return slice(first, last + 1) if last - first + 1 == len(singles) else slots[: len(singles)]


def attend(  # noqa: PLR0913 -- the signature is the attention interface's
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001 -- the interface's; ours is made from the batch
    *,
    tokenwire_batch: Batch,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend within each sequence.  Query [1, heads, T, dim], result [1, T, heads, dim].

    Registered with transformers' attention interface, which passes much that does not matter here.
    """
    batch = tokenwire_batch
    batch.cache.windows.setdefault(module.layer_idx, sliding_window)
    keys, values = batch.cache.write(module.layer_idx, key, value, batch.slots, batch.positions)
    parts = []
    if batch.singles:
        rows = query[0, :, : batch.singles].transpose(0, 1).unsqueeze(2)
        mask = batch.single_mask(query, sliding_window)
        seen = keys[batch.rows, :, : batch.longest], values[batch.rows, :, : batch.longest]
        parts.append(_attention(rows, *seen, mask, scaling).permute(2, 0, 1, 3))
    for index, chunk in enumerate(batch.chunks):
        row = slice(chunk.slot, chunk.slot + 1)
        tokens = query[:, :, chunk.begin : chunk.end]
        mask = batch.chunk_mask(index, query, sliding_window)
        seen = keys[row, :, : chunk.length], values[row, :, : chunk.length]
        parts.append(_attention(tokens, *seen, mask, scaling).transpose(1, 2))
    return torch.cat(parts, dim=1), None


def _attention(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scaling: float | None) -> Tensor:
    grouped = query.shape[1] != keys.shape[1]
    return scaled_dot_product_attention(
        query, keys, values, attn_mask=mask, scale=scaling, enable_gqa=grouped
    )
