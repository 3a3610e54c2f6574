"""What users feel, measured at the door: metrics, and the log lines of a response's life."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gateway.response import Snapshot, reason_of
from shared.log import Status
from shared.observe import DURATION_BUCKETS, ITL_BUCKETS, TTFT_BUCKETS, Log

_STOP_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Metrics:
    """All metrics of a gateway, on one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, text, namespace="tokenwire", buckets=buckets, registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, namespace="tokenwire", registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, namespace="tokenwire", registry=registry)

        self.first_token = histogram(
            "time_to_first_token_seconds", "From the create to the first delta on its socket.", TTFT_BUCKETS
        )
        self.inter_token = histogram(
            "inter_token_latency_seconds", "Between successive live deltas of a viewer.", ITL_BUCKETS
        )
        self.queue_time = histogram("queue_time_seconds", "From the create to its claim.", DURATION_BUCKETS)
        self.duration = histogram(
            "request_duration_seconds", "From the create to its ending.", DURATION_BUCKETS
        )
        self.stop_delay = histogram(
            "stop_delay_seconds", "From a cancel to the ending on its socket.", _STOP_BUCKETS
        )
        requests = counter("requests", "Creates by what became of them.", "outcome")
        self.outcomes = {status: requests.labels(status.value) for status in Status if status.terminal}
        self.refused = requests.labels("refused")
        self.left = requests.labels("left")
        self.rejections = counter("rejections", "Refusals by their code.", "reason")
        connections = gauge("connections", "Open connections.", "door")
        self.sockets = connections.labels("websocket")
        self.streams = connections.labels("sse")
        self.connections = connections
        self.attachments = gauge("attachments", "Viewers of responses.")
        resumes = counter("resumes", "Attachments with a cursor by what became of them.", "outcome")
        self.resumed = resumes.labels("resumed")
        self.not_resumed = resumes.labels("refused")
        gaps = counter("gaps", "Reads of the log to fill a gap, by how it was noticed.", "noticed")
        self.gap_by_number = gaps.labels("number")
        self.gap_by_silence = gaps.labels("silence")
        self.merged = counter("merged_deltas", "Deltas that joined another for a slow reader.")
        self.outbox_bytes = gauge("outbox_bytes", "Bytes that wait for slow readers.")
        self.slow_closes = counter("slow_client_closes", "Readers cut because they took too little.")
        self.swept = counter("swept", "Responses ended by this gateway's sweep.")
        for reason in ("overloaded", "no_worker", "rate_limit_exceeded", "origin_not_allowed"):
            self.rejections.labels(reason)  # so that they are seen as 0 before they happen


class Viewing:
    """The times of one attachment that only watches."""

    def __init__(self, metrics: Metrics) -> None:
        self._inter_token = metrics.inter_token
        self._stop_delay = metrics.stop_delay
        self._last_delta = 0.0
        self._stop_asked_at: float | None = None

    def joined(self) -> None:
        """Note that the log was read for the first time."""

    def refused(self) -> None:
        """Note that the log could not be read at all."""

    def started(self, now: float) -> None:
        """Note that a worker has claimed the response."""

    def replayed(self, now: float) -> None:
        """Note that a delta came from the log."""

    def delta(self, now: float) -> None:
        """Note a live delta."""
        if self._last_delta:
            self._inter_token.observe(now - self._last_delta)
        self._last_delta = now

    def stop_asked(self, now: float) -> None:
        """Note that this viewer pressed Stop; the first time counts."""
        if self._stop_asked_at is None:
            self._stop_asked_at = now

    def ended(self, told: Snapshot, now: float) -> None:
        """Note that the ending was written to the viewer."""
        if self._stop_asked_at is not None and told.status is Status.CANCELLED:
            self._stop_delay.observe(now - self._stop_asked_at)

    def left(self) -> None:
        """Note that the viewer left before the ending."""


class Resuming(Viewing):
    """The times of one attachment that came with a cursor."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(metrics)
        self._metrics = metrics

    def joined(self) -> None:
        """Note that it can be continued."""
        self._metrics.resumed.inc()

    def refused(self) -> None:
        """Note that it cannot be continued."""
        self._metrics.not_resumed.inc()


class Asking(Viewing):
    """The times of one response as its asker feels them, and the lines of its life."""

    def __init__(self, metrics: Metrics, log: Log, response_id: str, asked_at: float) -> None:
        super().__init__(metrics)
        self._metrics = metrics
        self._log = log
        self._response_id = response_id
        self._asked_at = asked_at
        self._has_started = self._has_token = False

    def started(self, now: float) -> None:
        """Note the claim."""
        if not self._has_started:
            self._has_started = True
            self._metrics.queue_time.observe(now - self._asked_at)
            self._log.info("started", self._response_id, queued_s=round(now - self._asked_at, 4))

    def replayed(self, now: float) -> None:
        """Note a delta that was in the log before the asker had joined."""
        if not self._has_token:
            self._first_token(now)

    def delta(self, now: float) -> None:
        """Note a live delta."""
        if not self._has_token:
            self._first_token(now)
        super().delta(now)

    def ended(self, told: Snapshot, now: float) -> None:
        """Note the ending."""
        super().ended(told, now)
        self._metrics.outcomes[told.status].inc()
        self._metrics.duration.observe(now - self._asked_at)
        self._log.info(
            "ended",
            self._response_id,
            status=told.status.value,
            reason=reason_of(told.ended).value if told.ended else None,
            prompt_tokens=told.prompt_tokens,
            generated_tokens=told.generated_tokens,
            seconds=round(now - self._asked_at, 4),
        )

    def left(self) -> None:
        """Note that the asker's connection went away first."""
        self._metrics.left.inc()
        self._log.info("left", self._response_id)

    def _first_token(self, now: float) -> None:
        self._has_token = True
        self._metrics.first_token.observe(now - self._asked_at)
        self._log.info("first_token", self._response_id, seconds=round(now - self._asked_at, 4))
