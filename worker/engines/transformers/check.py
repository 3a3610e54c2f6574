"""Prove at the start that this engine computes what the model is.

Models differ in what their attention does beyond the common (sinks, soft caps, layers that share their
keys).  Rather than keep a list of those that fit, a few tokens are computed both ways.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
    """Return logits [3, vocabulary] of the model with its own attention, where each chunk ends.

    Raises EngineError if it does not compute.
    """
    model.set_attn_implementation("eager")
    ids = torch.tensor([_ids(vocabulary)], device=device)
    ends = torch.tensor(_CHUNKS, device=device).cumsum(0) - 1
    with _sentences():
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


def check_windows(told: Mapping[int, int | None], config: Any, context_length: int) -> None:
    """Raise EngineError if a layer sees less than the context and has not ``told`` its attention so.

    The few tokens of the other check lie within any window.
    """
    for layer, window in told.items():
        wanted = _window(config, layer)
        if wanted and wanted < context_length and window != wanted:
            raise EngineError(
                f"This model looks back {wanted} tokens in a way that this engine does not know: set CONTEXT_LENGTH to "
                f"{wanted} or less, or serve it by another engine."
            )


def _window(config: Any, layer: int) -> int | None:
    """Return how far a layer looks back by its configuration; None or 0 if it sees everything."""
    kinds = getattr(config, "layer_types", None)
    kind = kinds[layer] if kinds else "sliding_attention"
    names = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
    window: int | None = getattr(config, names[kind], None) if kind in names else None
    return window


def _ids(vocabulary: int) -> list[int]:
    """Return token ids spread over the vocabulary (golden ratio, so that neighbours are far apart)."""
    return [int((n + 1) * 0.6180339887 % 1 * vocabulary) for n in range(sum(_CHUNKS))]


def _compute(runner: Runner, part: Part) -> Tensor:
    with _sentences():
        return runner.logits([part])[1]


@contextmanager
def _sentences() -> Iterator[None]:
    """Turn what a model raises into an EngineError."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise EngineError(
            "The model and its KV cache do not fit into memory: set fewer slots or a shorter context."
        ) from error
    except (RuntimeError, TypeError, LookupError, AttributeError, ValueError) as error:
        raise EngineError(
            f"This engine cannot compute this model ({type(error).__name__}: {error}); serve it by another engine."
        ) from error
