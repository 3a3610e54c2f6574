"""The KV cache: per layer one tensor for keys and one for values, a row of fixed length per slot.

Rows are as long as the context, because an address (slot, position) then never changes: decode can be
captured in a CUDA graph, prompts are written in chunks without copying, and a slot is reused by overwriting.
On the CPU the memory is zeroed lazily by the kernel, so it costs what was used; on a GPU it is all taken at
the start, as it should be: what fits is known before the first request.
"""

from __future__ import annotations

import torch
from torch import Tensor


class KVCache:
    """Keys and values of all slots; a layer's tensors are made when it is first seen, in its own shape."""

    def __init__(self, slots: int, length: int) -> None:
        self.slots = slots
        self.length = length
        self.windows: dict[int, int | None] = {}
        """The sliding window that each layer told its attention when it was first seen; None is all."""
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def bytes(self) -> int:
        """Size of all tensors, used or not."""
        return sum(tensor.nbytes for pair in self._layers.values() for tensor in pair)

    def write(
        self, layer: int, key: Tensor, value: Tensor, slots: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Store what ``layer`` made of T tokens and return its cache.

        ``key`` and ``value`` are [1, heads, T, dim], ``slots`` and ``positions`` are [T]; the cache is two
        tensors [slots, heads, length, dim].
        """
        if layer not in self._layers:
            self._layers[layer] = self._empty(key), self._empty(value)
        keys, values = self._layers[layer]
        keys[slots, :, positions] = key[0].transpose(0, 1)
        values[slots, :, positions] = value[0].transpose(0, 1)
        return keys, values

    def clear(self, slot: int, length: int) -> None:
        """Forget the first ``length`` positions of a slot."""
        for keys, values in self._layers.values():
            keys[slot, :, :length].zero_()
            values[slot, :, :length].zero_()

    def _empty(self, like: Tensor) -> Tensor:
        _, heads, _, dim = like.shape
        # Zeros, not garbage: a masked position has weight 0, and 0 times NaN would be NaN.
        return torch.zeros(self.slots, heads, self.length, dim, dtype=like.dtype, device=like.device)
