"""Prove at the start that this engine computes what the model is.

Models differ in what their attention does beyond the common (sinks, soft caps, layers that share their
keys).  Rather than keep a list of those that fit, a few tokens are computed both ways.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from worker.engines.contract import EngineError
from worker.engines.transformers.batch import Part
from worker.engines.transformers.runner import Runner

_CHUNKS = (7, 4, 1)
"""A prompt in two chunks and one decoded token."""
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.05}
"""Largest accepted difference, in parts of the largest logit."""


@torch.inference_mode()
def plain_logits(model: Any, vocabulary: int, device: torch.device) -> Tensor:
    """Return logits [3, vocabulary] of the model with its own attention, where each chunk ends."""
    model.set_attn_implementation("eager")
    ids = torch.tensor([_ids(vocabulary)], device=device)
    ends = torch.tensor(_CHUNKS, device=device).cumsum(0) - 1
    logits: Tensor = model(input_ids=ids, use_cache=False, logits_to_keep=ends).logits[0]
    return logits


def check(runner: Runner, expected: Tensor, vocabulary: int) -> None:
    """Compute the same through ``runner``.  Raises EngineError if it differs or does not fit in memory."""
    ids, start, rows = _ids(vocabulary), 0, []
    for count in _CHUNKS:
        part = Part(slot=0, start=start, ids=ids[start : start + count], chooses=True)
        rows.append(_compute(runner, part))
        start += count
    difference = (torch.cat(rows) - expected).abs().max() / expected.abs().max()
    if not difference <= _TOLERANCE[expected.dtype]:
        raise EngineError(
            "This engine does not compute this model as the model itself does: its kind of attention is not "
            f"supported here (largest difference {float(difference):.2g}); serve it by another engine."
        )


def _ids(vocabulary: int) -> list[int]:
    """Return token ids spread over the vocabulary (golden ratio, so that neighbours are far apart)."""
    return [int((n + 1) * 0.6180339887 % 1 * vocabulary) for n in range(sum(_CHUNKS))]


def _compute(runner: Runner, part: Part) -> Tensor:
    try:
        return runner.logits([part])[1]
    except torch.OutOfMemoryError as error:
        raise EngineError(
            "The KV cache does not fit into memory: set fewer slots or a shorter context."
        ) from error
    except (RuntimeError, TypeError, KeyError, AttributeError) as error:
        raise EngineError(
            f"This engine cannot compute this model ({type(error).__name__}: {error}); serve it by another engine."
        ) from error
