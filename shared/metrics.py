"""What every process counts, whatever its tier: its build, its event loop, its way to the store.

Durations are histograms in seconds whose edges lie on the thresholds of objectives; nothing is labelled by
response, user or text.
"""

from __future__ import annotations

from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

LATENCY_BUCKETS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
"""Seconds of what should take less than a millisecond: a round trip to the store, a turn of the event loop."""


class ProcessMetrics:
    """The metrics common to gateways and workers."""

    def __init__(self, registry: CollectorRegistry, tier: str) -> None:
        build = Gauge("tokenwire_build_info", "Always 1.", ["version", "tier"], registry=registry)
        build.labels(version("tokenwire"), tier).set(1)
        self.ready = Gauge("tokenwire_ready", "1 while /readyz says yes.", registry=registry)
        self._lag = Histogram(
            "tokenwire_event_loop_lag_seconds",
            "How late the event loop ran what was due.",
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._round_trip = Histogram(
            "tokenwire_store_round_trip_seconds",
            "From a packet of commands to the last of its replies.",
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._lost = Counter(
            "tokenwire_store_failures_total", "Packets whose replies were lost.", registry=registry
        )
        ProcessCollector(registry=registry)

    def late(self, seconds: float) -> None:
        """Note how late the event loop was."""
        self._lag.observe(max(0.0, seconds))

    def round_trip(self, seconds: float | None) -> None:
        """Note a packet to the store; None if its replies were lost."""
        if seconds is None:
            self._lost.inc()
        else:
            self._round_trip.observe(seconds)
