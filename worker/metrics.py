"""The worker's metrics, made once, with their label children bound: nothing is looked up per token."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from shared.log import Reason
from shared.observe import DURATION_BUCKETS, ITL_BUCKETS, TTFT_BUCKETS
from shared.store.contract import AppendReply, Standing
from worker.engines.contract import Stats

Label = TypeVar("Label", bound=StrEnum)

_AFTER_STOP = (0, 1, 2, 3, 4, 6, 8, 12, 16, 32, 64)
"""Tokens; two steps of one sequence are two."""

_ENGINE = {
    "steps": "Steps since the start.",
    "sequences_running": "Sequences in the running batch.",
    "sequences_waiting": "Sequences that wait for a slot.",
    "prefill_seconds": "Time spent on prompts.",
    "decode_seconds": "Time spent on new tokens.",
}


class WorkerMetrics:
    """What a worker counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.queue_time = self._histogram(
            "worker_queue_time_seconds",
            "From submission to the first claim, by the server's clock.",
            DURATION_BUCKETS,
        )
        self.first_append = self._histogram(
            "worker_time_to_first_append_seconds", "From a claim to its first logged delta.", TTFT_BUCKETS
        )
        self.append_time = self._histogram(
            "append_duration_seconds", "One round trip that logs and publishes a step.", ITL_BUCKETS
        )
        self.generated = self._counter("generated_tokens", "Tokens the engine made.")
        self.wasted = self._counter(
            "wasted_tokens", "Tokens made after somebody else had ended the response."
        )
        self.after_stop = self._histogram(
            "tokens_after_stop", "Of one stopped response, tokens made until the worker knew.", _AFTER_STOP
        )
        self.saved = self._counter("saved_tokens", "Tokens that a stop or a leave made unnecessary, at most.")
        self.prompt = self._counter("prompt_tokens", "Tokens of computed prompts.")
        self.claims = self._counter("claims", "Responses claimed.")
        self.hand_overs = self._counter("hand_overs", "Claims that continue another worker's log.")
        self.released = self._counter("released", "Responses handed over by a drain.")
        self.repairs = self._counter("log_repairs", "Entries written again after the server lost them.")
        self.appends = self._counters("appends", "Deltas by the store's verdict.", "verdict", AppendReply)
        self.finished = self._counters("finished", "Responses ended here, by reason.", "reason", Reason)
        self.lost = self._counters("claims_lost", "Claims found not to be ours.", "standing", Standing)
        self._engine = {
            name: Gauge(f"tokenwire_engine_{name}", text, registry=registry) for name, text in _ENGINE.items()
        }

    def look(self, stats: Stats) -> None:
        """Take over a look at the engine."""
        self._engine["steps"].set(stats.steps)
        self._engine["sequences_running"].set(stats.running)
        self._engine["sequences_waiting"].set(stats.waiting)
        self._engine["prefill_seconds"].set(stats.prefill_seconds)
        self._engine["decode_seconds"].set(stats.decode_seconds)

    def _histogram(self, name: str, text: str, buckets: Iterable[float]) -> Histogram:
        return Histogram(f"tokenwire_{name}", text, buckets=tuple(buckets), registry=self._registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"tokenwire_{name}_total", text, registry=self._registry)

    def _counters(self, name: str, text: str, label: str, values: type[Label]) -> dict[Label, Counter]:
        family = Counter(f"tokenwire_{name}_total", text, [label], registry=self._registry)
        return {value: family.labels(value.value) for value in values}
