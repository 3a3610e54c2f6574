"""A histogram for what happens at every token: as Prometheus shows it, a fifth as dear to observe."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class EventLoopHistogram(Collector):
    """Observed on the event loop alone, so it needs no lock; any thread may collect it."""

    def __init__(self, name: str, sentence: str, edges: Sequence[float], registry: CollectorRegistry) -> None:
        """``edges``: the buckets' upper ones, rising, each within its bucket."""
        self._name = name
        self._sentence = sentence
        self._edges = tuple(edges)
        self._counts = [0] * (len(edges) + 1)
        self._sum = 0.0
        registry.register(self)

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._edges, value)] += 1
        self._sum += value

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """Return what was counted so far."""
        names = map(floatToGoString, (*self._edges, float("inf")))
        buckets = list(zip(names, map(float, accumulate(self._counts)), strict=True))
        yield HistogramMetricFamily(self._name, self._sentence, buckets=buckets, sum_value=self._sum)

    def describe(self) -> Iterable[HistogramMetricFamily]:
        """Return the name, so that a registry knows whose it is."""
        return self.collect()
