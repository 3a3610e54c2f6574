"""What both doors work with: built once by ``app.py`` and handed to every connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.admission import Accepted, Admission
from gateway.drain import Drain
from gateway.hub import Hub
from gateway.meter import Meter
from gateway.metrics import Metrics
from gateway.session import Limits
from gateway.tasks import Tasks
from gateway.times import Asking, Resuming, Trace, Tracing, Viewing
from shared.observe import Log
from shared.trace import parse


@dataclass(frozen=True, slots=True)
class Desk:
    """The parts of a gateway that every connection needs, and whose times are taken for whom."""

    hub: Hub
    admission: Admission
    limits: Limits
    clock: Callable[[], float]
    log: Log
    metrics: Metrics
    tasks: Tasks
    drain: Drain
    meter: Meter
    tracing: Tracing = field(default_factory=Tracing)

    def asking(self, accepted: Accepted, asked_at: float, traceparent: str | None) -> Viewing:
        """Return the times of a response as its asker feels them; one asked for twice is only watched."""
        if accepted.duplicate:
            return Viewing(self.metrics)
        trace = Trace(accepted.context, parse(traceparent), self.tracing.record)
        response_id = accepted.response_id
        return Asking(self.metrics, self.log, response_id, asked_at, self.clock(), trace)

    def resuming(self, traceparent: str | None) -> Viewing:
        """Return the times of somebody who comes with a cursor."""
        trace = Trace(self.tracing.begin(traceparent), parse(traceparent), self.tracing.record)
        return Resuming(self.metrics, self.log, trace)
