"""The worker's metrics, made once, with their label children bound: nothing is looked up per token."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from shared.log import Reason
from shared.metrics import ProcessMetrics
from shared.observe import DURATION_BUCKETS, ITL_BUCKETS, TTFT_BUCKETS
from shared.store.contract import AppendReply, Standing
from worker.engines.contract import Stats, StepKind, StepTaken

Label = TypeVar("Label", bound=StrEnum)

_AFTER_STOP = (0, 1, 2, 3, 4, 6, 8, 12, 16, 32, 64)
"""Tokens; two steps of one sequence are two."""

_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
"""Sequences in one step."""

_GAUGES = {
    "engine_sequences_running": "Sequences in the running batch.",
    "engine_sequences_waiting": "Sequences that wait for a slot.",
    "engine_cache_tokens": "Tokens whose state the KV cache holds.",
    "engine_cache_capacity_tokens": "Tokens that the KV cache has room for; 0 if the engine has none of its own.",
    "gpu_memory_used_bytes": "Memory of the GPU in use, by anybody; 0 without one.",
    "gpu_memory_bytes": "Memory of the GPU; 0 without one.",
}
_TOTALS = {
    "engine_steps": "Steps since the start.",
    "engine_prefill_seconds": "Time spent on prompts.",
    "engine_decode_seconds": "Time spent on new tokens.",
}


class WorkerMetrics:
    """What a worker counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.process = ProcessMetrics(registry, "worker")
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
        self.reclaims = self._counter(
            "reclaims", "Claims of what another worker had and did not release: it died, hung or was cut off."
        )
        self.released = self._counter("released", "Responses handed over by a drain.")
        self.unreadable = self._counter(
            "unreadable_requests",
            "Responses failed, or queue entries put aside, that could not be read here.",
        )
        self.repairs = self._counter("log_repairs", "Entries written again after the server lost them.")
        self.appends = self._counters("appends", "Deltas by the store's verdict.", "verdict", AppendReply)
        self.finished = self._counters("finished", "Responses ended here, by reason.", "reason", Reason)
        self.lost = self._counters("claims_lost", "Claims found not to be ours.", "standing", Standing)
        self._batch = self._histogram("batch_size", "Sequences computed in one step.", _BATCH)
        self._steps = self._step_histograms()
        self._gauges = {
            name: Gauge(f"tokenwire_{name}", text, registry=registry) for name, text in _GAUGES.items()
        }
        self._totals = {name: self._counter(name, text) for name, text in _TOTALS.items()}
        self._seen = dict.fromkeys(_TOTALS, 0.0)

    def look(self, stats: Stats) -> None:
        """Take over a look at the engine."""
        self._gauges["engine_sequences_running"].set(stats.running)
        self._gauges["engine_sequences_waiting"].set(stats.waiting)
        self._gauges["engine_cache_tokens"].set(stats.cache_tokens)
        self._gauges["engine_cache_capacity_tokens"].set(stats.cache_capacity)
        self._gauges["gpu_memory_used_bytes"].set(stats.device_bytes_used)
        self._gauges["gpu_memory_bytes"].set(stats.device_bytes_total)
        self._count("engine_steps", stats.steps)
        self._count("engine_prefill_seconds", stats.prefill_seconds)
        self._count("engine_decode_seconds", stats.decode_seconds)

    def step(self, taken: StepTaken) -> None:
        """Note one step; called in the engine's thread."""
        self._steps[taken.kind].observe(taken.seconds)
        self._batch.observe(taken.sequences)

    def _count(self, name: str, total: float) -> None:
        """Bring a counter to where the engine's own stands."""
        self._totals[name].inc(max(0.0, total - self._seen[name]))
        self._seen[name] = total

    def _step_histograms(self) -> dict[StepKind, Histogram]:
        family = Histogram(
            "tokenwire_step_duration_seconds",
            "One step of the engine, by what it computed; a paced engine's waits count.",
            ["kind"],
            buckets=ITL_BUCKETS,
            registry=self.registry,
        )
        return {kind: family.labels(kind.value) for kind in StepKind}

    def _histogram(self, name: str, text: str, buckets: Iterable[float]) -> Histogram:
        return Histogram(f"tokenwire_{name}", text, buckets=tuple(buckets), registry=self.registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"tokenwire_{name}_total", text, registry=self.registry)

    def _counters(self, name: str, text: str, label: str, values: type[Label]) -> dict[Label, Counter]:
        family = Counter(f"tokenwire_{name}_total", text, [label], registry=self.registry)
        return {value: family.labels(value.value) for value in values}
