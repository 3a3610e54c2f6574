"""Execute a plan: one packed forward, then one choice per sequence that has nothing missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface

from shared.logprobs import Scored, encode, rounded
from worker.engines.contract import EngineError
from worker.engines.transformers.batch import ATTENTION, Batch, Part, attend
from worker.engines.transformers.cache import KVCache
from worker.engines.transformers.sampler import Draw, Penalty, choose, logprobs, penalised, restricted
from worker.engines.transformers.spelling import Speller
from worker.scheduler import StepPlan, StepResult, Work, failure
from worker.sequence import Sequence as Response

_NOT_A_NUMBER = "The model's output for this response is not a number."


class Runner:
    """A model with its KV cache.  Computing the same positions twice is harmless: it overwrites."""

    def __init__(self, model: Any, slots: int, length: int, device: torch.device, speller: Speller) -> None:
        """Give ``model`` this engine's attention."""
        self._model = model
        self._device = device
        self._speller = speller
        self._cache = KVCache(slots, length)
        self._unproved: dict[int, int] = {}
        """Positions written in a slot from which no number has come yet, so that they may hold none."""
        AttentionInterface.register(ATTENTION, attend)
        model.set_attn_implementation(ATTENTION)

    @property
    def cache_bytes(self) -> int:
        """Size of the KV cache, known after the first forward."""
        return self._cache.bytes

    @property
    def windows(self) -> Mapping[int, int | None]:
        """The sliding window of each layer, None for all positions; known after the first forward."""
        return self._cache.windows

    @torch.inference_mode()
    def logits(self, parts: Sequence[Part]) -> tuple[list[Part], Tensor]:
        """Compute ``parts``, by ascending slot, and return those that choose with their logits."""
        self._begin(parts)
        batch = Batch(parts, self._cache, self._device)
        return batch.choosing, batch.forward(self._model)

    @torch.inference_mode()
    def execute(self, plan: StepPlan) -> StepResult:
        """Compute a plan.  What cannot be computed fails alone.

        Raises EngineError if nothing can be computed any more, as after a fault of the device.
        """
        if not plan.work:
            return StepResult()
        result = self._isolate(plan.work)
        if len(result.failed) == len(plan.work):
            self._prove_sound(plan.work[0].slot)
        return result

    def _begin(self, parts: Sequence[Part]) -> None:
        """Note what is written; clean a slot of what its last sequence left, unless that was numbers.

        Who has a slot next never sees those positions, but 0 times NaN would be NaN.
        """
        for part in parts:
            written = self._unproved.get(part.slot, 0)
            if part.start == 0 and written:
                self._cache.clear(part.slot, written)
                written = 0
            self._unproved[part.slot] = max(written, part.start + len(part.ids))

    def _isolate(self, work: Sequence[Work]) -> StepResult:
        """Compute ``work`` together; if that raises, in halves, down to the one that is to blame.

        What does not fit into the device's memory is halved further, within a chunk of a prompt.
        """
        try:
            return self._together(work)
        except Exception as error:  # noqa: BLE001 -- whatever a sequence makes the model raise is its own end
            too_big = isinstance(error, torch.OutOfMemoryError)
            if len(work) == 1 and not (too_big and work[0].count > 1):
                return StepResult(failed={work[0].slot: failure(error)})
        # Behind the except: its traceback would hold on to the memory that the halves need.
        before, behind = _halves(work)
        first = self._isolate(before)
        if first.failed and before[0].slot == behind[0].slot:
            return first
        second = self._isolate(behind)
        return StepResult(
            chosen={**first.chosen, **second.chosen},
            failed={**first.failed, **second.failed},
            logprobs={**first.logprobs, **second.logprobs},
        )

    def _together(self, work: Sequence[Work]) -> StepResult:
        parts = [Part(w.slot, w.start, w.sequence.ids(w.start, w.count), w.chooses) for w in work]
        choosing, logits = self.logits(parts)
        if not choosing:
            return StepResult()
        sequences = {part.slot: part.sequence for part in work}
        rows = [sequences[part.slot] for part in choosing]
        ids = choose(
            restricted(penalised(logits, list(_penalties(rows))), _masks(rows)),
            [Draw.at(sequence.sampling, len(sequence.generated)) for sequence in rows],
        )
        slots = [part.slot for part in choosing]
        chosen = {slot: token_id for slot, token_id in zip(slots, ids, strict=True) if token_id is not None}
        for slot in chosen:
            self._unproved.pop(slot, None)
        return StepResult(
            chosen=chosen,
            failed={slot: _NOT_A_NUMBER for slot in slots if slot not in chosen},
            logprobs=dict(self._logprobs(slots, rows, ids, logits)),
        )

    def _logprobs(
        self, slots: list[int], rows: list[Response], ids: list[int | None], logits: Tensor
    ) -> Iterator[tuple[int, str]]:
        """Spell the logprobs of the rows that ask for them, by slot."""
        asked = [row for row, sequence in enumerate(rows) if sequence.sampling.top_logprobs is not None]
        chosen = [(row, token_id) for row in asked if (token_id := ids[row]) is not None]
        if not chosen:
            return
        most = max(rows[row].sampling.top_logprobs or 0 for row, _ in chosen)
        told = logprobs(logits[[row for row, _ in chosen]], [token_id for _, token_id in chosen], most)
        for (row, token_id), each in zip(chosen, told, strict=True):
            top = each.top[: rows[row].sampling.top_logprobs or 0]
            likeliest = tuple((self._speller.spell(other), rounded(logprob)) for other, logprob in top)
            yield (
                slots[row],
                encode([Scored(self._speller.spell(token_id), rounded(each.logprob), likeliest)]),
            )

    def _prove_sound(self, slot: int) -> None:
        """Compute one ordinary token in a slot whose sequence has just failed."""
        try:
            _, logits = self.logits([Part(slot, 0, [0], chooses=True)])
            sound = bool(logits.isfinite().all())
        except Exception as error:
            raise EngineError(
                f"the device computes nothing any more ({type(error).__name__}: {error})"
            ) from error
        if not sound:
            raise EngineError("the model computes only nonsense (its output is not a number)")


def _halves(work: Sequence[Work]) -> tuple[Sequence[Work], Sequence[Work]]:
    """Halve a step, or the chunk that it is."""
    if len(work) > 1:
        return work[: len(work) // 2], work[len(work) // 2 :]
    (whole,) = work
    half = whole.count // 2
    return [replace(whole, count=half)], [replace(whole, start=whole.start + half, count=whole.count - half)]


def _masks(rows: Sequence[Response]) -> dict[int, bytes]:
    """Return what the rows may choose that are kept to a form.  Raises GrammarError of one that cannot be."""
    return {
        row: sequence.guide.mask(sequence.generated)
        for row, sequence in enumerate(rows)
        if sequence.guide is not None
    }


def _penalties(rows: Iterable[Response]) -> Iterator[Penalty]:
    for row, sequence in enumerate(rows):
        sampling = sequence.sampling
        if sampling.frequency_penalty or sampling.presence_penalty:
            yield Penalty(
                row, sampling.frequency_penalty, sampling.presence_penalty, tuple(sequence.generated)
            )
