"""The worker's metrics, made once, with their label children bound: nothing is looked up per token."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from shared.log import Reason
from shared.observe import DURATION_BUCKETS, ITL_BUCKETS, TTFT_BUCKETS
from shared.store.contract import AppendReply, Standing
from worker.engines.contract import Stats


class WorkerMetrics:
    """What a worker counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.queue_time = Histogram(
            "tokenwire_queue_time_seconds",
            "From submission to the first claim.",
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self.first_append = Histogram(
            "tokenwire_worker_time_to_first_append_seconds",
            "From a claim to its first logged delta: prefill and the first step.",
            buckets=TTFT_BUCKETS,
            registry=registry,
        )
        self.append_time = Histogram(
            "tokenwire_append_duration_seconds",
            "One round trip that logs and publishes a step.",
            buckets=ITL_BUCKETS,
            registry=registry,
        )
        self.generated = Counter(
            "tokenwire_generated_tokens_total", "Tokens the engine made.", registry=registry
        )
        self.prompt = Counter(
            "tokenwire_prompt_tokens_total", "Tokens of computed prompts.", registry=registry
        )
        appends = Counter(
            "tokenwire_appends_total", "Deltas by the store's verdict.", ["verdict"], registry=registry
        )
        self.appends = {reply: appends.labels(reply.value) for reply in AppendReply}
        finished = Counter(
            "tokenwire_finished_total",
            "Responses this worker ended, by reason.",
            ["reason"],
            registry=registry,
        )
        self.finished = {reason: finished.labels(reason.value) for reason in Reason}
        lost = Counter(
            "tokenwire_claims_lost_total",
            "Claims that were somebody else's or ended when the store was asked.",
            ["standing"],
            registry=registry,
        )
        self.lost = {standing: lost.labels(standing.value) for standing in Standing}
        self.claims = Counter("tokenwire_claims_total", "Responses claimed.", registry=registry)
        self.hand_overs = Counter(
            "tokenwire_hand_overs_total", "Claims that continue another worker's log.", registry=registry
        )
        self.released = Counter(
            "tokenwire_released_total", "Responses handed over by a drain.", registry=registry
        )
        self.repairs = Counter(
            "tokenwire_log_repairs_total",
            "Entries written again after the server lost them.",
            registry=registry,
        )
        self._engine = {
            name: Gauge(f"tokenwire_engine_{name}", text, registry=registry)
            for name, text in (
                ("steps", "Steps since the start."),
                ("sequences_running", "Sequences in the running batch."),
                ("sequences_waiting", "Sequences that wait for a slot."),
                ("prefill_seconds", "Time spent on prompts."),
                ("decode_seconds", "Time spent on new tokens."),
            )
        }

    def look(self, stats: Stats) -> None:
        """Take over a look at the engine."""
        for name, value in (
            ("steps", stats.steps),
            ("sequences_running", stats.running),
            ("sequences_waiting", stats.waiting),
            ("prefill_seconds", stats.prefill_seconds),
            ("decode_seconds", stats.decode_seconds),
        ):
            self._engine[name].set(value)
