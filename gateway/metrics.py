"""What a gateway counts, made once, with its label children bound: nothing is looked up per delta."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.samples import Sample

from gateway.errors import CloseCode
from gateway.outbox import Outbox
from shared.histogram import EventLoopHistogram
from shared.log import Reason, Status
from shared.observe import DURATION_BUCKETS, ITL_BUCKETS, TTFT_BUCKETS
from shared.store.contract import Announced, GatewayInfo

_STOP_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True, slots=True)
class Goal:
    """What a good answer keeps, in seconds; the defaults are MLPerf Inference's for a 70B model's server."""

    first_token: float = 2.0
    per_token: float = 0.2


class Metrics:
    """All metrics of a gateway, on one registry."""

    def __init__(self, registry: CollectorRegistry, goal: Goal | None = None) -> None:
        self._registry = registry
        self.goal = goal or Goal()
        self._count_answers()
        self._count_doors()
        self._count_delivery()
        self._count_fleet()

    def _count_answers(self) -> None:
        """Make what tells of answers, as their askers feel them."""
        histogram = self._histogram
        self.first_token = histogram(
            "time_to_first_token_seconds", "From the create to the first delta on its socket.", TTFT_BUCKETS
        )
        self.inter_token = EventLoopHistogram(
            "tokenwire_inter_token_latency_seconds",
            "Between successive live deltas of a viewer.",
            ITL_BUCKETS,
            self._registry,
        )
        self.per_token = histogram(
            "time_per_output_token_seconds",
            "Of one answer, from its first to its last delta, by the tokens between them.",
            ITL_BUCKETS,
        )
        self.queue_time = histogram("queue_time_seconds", "From the create to its claim.", DURATION_BUCKETS)
        duration = histogram(
            "request_duration_seconds", "From the create to its ending.", DURATION_BUCKETS, "outcome"
        )
        self.durations = {status: duration.labels(status.value) for status in Status if status.terminal}
        self.stop_delay = histogram(
            "stop_delay_seconds", "From a cancel to the ending on its socket.", _STOP_BUCKETS
        )
        requests = self._counter("requests", "Creates by what became of them.", "outcome")
        self.outcomes = {status: requests.labels(status.value) for status in Status if status.terminal}
        self.refused = requests.labels("refused")
        self.left = requests.labels("left")
        self.good = self._counter(
            "good_requests", "Answers that ended by themselves and kept the goal throughout."
        )
        endings = self._counter("endings", "Endings shown to askers, by reason.", "reason")
        self.endings = {reason: endings.labels(reason.value) for reason in Reason}

    def _count_doors(self) -> None:
        """Make what tells of connections and refusals."""
        self.rejections = self._counter("rejections", "Refusals by their code.", "reason")
        for reason in ("overloaded", "no_worker", "rate_limit_exceeded", "origin_not_allowed"):
            self.rejections.labels(reason)  # so that they are seen as 0 before they happen
        self.connections = self._gauge("connections", "Open connections.", "door")
        self.sockets = self.connections.labels("websocket")
        self.streams = self.connections.labels("sse")
        closes = self._counter("socket_closes", "Sockets closed by this gateway, by code.", "code")
        self.closes = {code: closes.labels(str(int(code))) for code in CloseCode}
        self.outbox_bytes = self._gauge("outbox_bytes", "Bytes that wait for slow readers.")
        self.merged = self._counter("merged_deltas", "Deltas that joined another for a slow reader.")
        self.slow_closes = self._counter("slow_client_closes", "Readers cut because they took too little.")

    def _count_delivery(self) -> None:
        """Make what tells how answers come out of the store."""
        self.attachments = self._gauge("attachments", "Viewers of responses.")
        resumes = self._counter("resumes", "Attachments with a cursor by what became of them.", "outcome")
        self.resumed = resumes.labels("resumed")
        self.not_resumed = resumes.labels("refused")
        gaps = self._counter("gaps", "Reads of the log to fill a gap, by how it was noticed.", "noticed")
        self.gap_by_number = gaps.labels("number")
        self.gap_by_silence = gaps.labels("silence")
        self.replayed = self._counter("replayed_deltas", "Deltas that came out of the log, not live.")
        self.unreadable = self._counter(
            "unreadable",
            "Viewers sent elsewhere since a newer version, or damage, has written what they watch.",
        )
        self.live_connected = self._gauge(
            "live_connected", "1 while the link that brings live messages stands."
        )
        self.live_links = self._counter(
            "live_links", "Links for live messages made; each after the first was a cut."
        )
        self.swept = self._counter("swept", "Responses ended by this gateway's sweep.")

    def _count_fleet(self) -> None:
        """Make what every gateway tells alike: the queue and the workers, as the store knows them."""
        self.queue_depth = self._gauge(
            "queue_depth", "Accepted requests that no worker has claimed.", "model"
        )
        self.workers = self._gauge("workers", "Workers announced and alive.", "model")
        self.slots = self._gauge("slots", "Responses that the workers alive compute at once.", "model")
        self.running = self._gauge("running", "Responses that the workers alive have claimed.", "model")

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, text, labels, namespace="tokenwire", buckets=buckets, registry=self._registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, namespace="tokenwire", registry=self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, namespace="tokenwire", registry=self._registry)

    def told(self, name: str, *, draining: bool) -> GatewayInfo:
        """Sum up for an announcement."""
        return GatewayInfo(
            gateway=name,
            version=version("tokenwire"),
            sockets=int(value_of(self.sockets)),
            streams=int(value_of(self.streams)),
            viewers=int(value_of(self.attachments)),
            draining=draining,
            ended={status.value: int(value_of(child)) for status, child in self.outcomes.items()},
            refused=int(value_of(self.refused)),
            first_token=counts_of(self.first_token),
            inter_token=counts_of(self.inter_token),
        )

    def look(self, announced: Iterable[Announced]) -> None:
        """Take over what the workers announce."""
        alive: dict[str, list[Announced]] = {}
        for each in announced:
            alive.setdefault(each.info.model, []).extend([each] if each.alive else [])
        for model, workers in alive.items():
            self.workers.labels(model).set(len(workers))
            self.slots.labels(model).set(sum(each.info.slots for each in workers))
            self.running.labels(model).set(sum(each.info.running for each in workers))


class Waiting:
    """What one outbox adds to the figures of all."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._size = self._merged = 0

    def show(self, outbox: Outbox) -> None:
        """Tell what waits in it now, and what has merged in it since the last time."""
        if outbox.size != self._size:
            self._metrics.outbox_bytes.inc(outbox.size - self._size)
            self._size = outbox.size
        if outbox.merged != self._merged:
            self._metrics.merged.inc(outbox.merged - self._merged)
            self._merged = outbox.merged


def value_of(metric: Counter | Gauge) -> float:
    """Return the value of a metric without labels, or of one child."""
    return next(s.value for s in _samples(metric) if not s.name.endswith("_created"))


def counts_of(histogram: Histogram | EventLoopHistogram) -> tuple[int, ...]:
    """Return the count in each bucket of a histogram, not summed up as Prometheus shows them."""
    upto = [int(sample.value) for sample in _samples(histogram) if sample.name.endswith("_bucket")]
    return tuple(after - before for before, after in itertools.pairwise([0, *upto]))


def _samples(metric: Counter | Gauge | Histogram | EventLoopHistogram) -> Iterable[Sample]:
    return (sample for family in metric.collect() for sample in family.samples)
