"""The times of one viewer of one response: what it feels, the lines of a response's life, and its spans."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from gateway.metrics import Metrics
from gateway.response import Snapshot, reason_of
from shared.log import Reason, Status
from shared.observe import Log
from shared.request import Request
from shared.trace import Attributes, Context, Record, Span, begin, parse, trace_id_of, untraced


@dataclass(frozen=True, slots=True)
class Tracing:
    """How a gateway makes trace contexts, and where its spans go."""

    record: Record = untraced
    ratio: float = 0.0
    """Share of the traces begun here that are recorded, 0 to 1."""

    def begin(self, header: str | None) -> Context:
        """Make the context of a response, below the asker's ``traceparent`` if there is one."""
        sampled = secrets.randbelow(1_000_000) < self.ratio * 1_000_000
        return begin(parse(header), secrets.token_hex, sampled=sampled)


@dataclass(frozen=True, slots=True)
class Trace:
    """Where one response or one resume stands among the spans."""

    context: Context
    parent: Context | None = None
    record: Record = untraced


def ago(seconds: float) -> float:
    """Return the Unix time of so many seconds ago."""
    return time.time() - seconds


class Viewing:
    """The times of one attachment that only watches."""

    def __init__(self, metrics: Metrics) -> None:
        self._inter_token = metrics.inter_token
        self._stop_delay = metrics.stop_delay
        self._last_delta = 0.0
        self._stop_asked_at: float | None = None

    def joined(self, request: Request, now: float) -> None:
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

    def left(self, now: float) -> None:
        """Note that the viewer left before the ending."""


class Resuming(Viewing):
    """The times of one attachment that came with a cursor."""

    def __init__(self, metrics: Metrics, log: Log, trace: Trace) -> None:
        super().__init__(metrics)
        self._metrics = metrics
        self._log = log
        self._trace = trace
        self._request: Request | None = None
        self._joined_at = 0.0

    def joined(self, request: Request, now: float) -> None:
        """Note that it can be continued."""
        self._metrics.resumed.inc()
        self._request, self._joined_at = request, now
        self._log.info("resumed", request.response_id, trace_id=trace_id_of(request.traceparent))

    def refused(self) -> None:
        """Note that it cannot be continued."""
        self._metrics.not_resumed.inc()

    def ended(self, told: Snapshot, now: float) -> None:
        """Note the ending."""
        super().ended(told, now)
        self._record(now, status=told.status.value)

    def left(self, now: float) -> None:
        """Note that it left again."""
        self._record(now, status="left")

    def _record(self, now: float, status: str) -> None:
        """Record a span in the viewer's own trace, linked to the response's."""
        if self._request is None:
            return
        told = {"tokenwire.response_id": self._request.response_id, "tokenwire.status": status}
        asked = parse(self._request.traceparent)
        links = () if asked is None else (asked,)
        trace, began = self._trace, ago(now - self._joined_at)
        trace.record(Span("resume", trace.context, trace.parent, began, ago(0), told, links))


class Asking(Viewing):
    """The times of one response as its asker feels them, and the lines of its life."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a response is told by
        self, metrics: Metrics, log: Log, response_id: str, asked_at: float, accepted_at: float, trace: Trace
    ) -> None:
        super().__init__(metrics)
        self._metrics = metrics
        self._log = log
        self._response_id = response_id
        self._asked_at = asked_at
        self._accepted_at = accepted_at
        self._trace = trace
        self._started_at = self._first_at = self._shown_at = 0.0

    def started(self, now: float) -> None:
        """Note the claim."""
        if not self._started_at:
            self._started_at = now
            self._metrics.queue_time.observe(now - self._asked_at)
            self._say("started", queue_seconds=round(now - self._asked_at, 4))

    def replayed(self, now: float) -> None:
        """Note a delta that was in the log before the asker had joined."""
        self._shown(now)

    def delta(self, now: float) -> None:
        """Note a live delta."""
        self._shown(now)
        super().delta(now)

    def ended(self, told: Snapshot, now: float) -> None:
        """Note the ending."""
        super().ended(told, now)
        reason = reason_of(told.ended) if told.ended else None
        self._metrics.outcomes[told.status].inc()
        self._metrics.durations[told.status].observe(now - self._asked_at)
        if reason is not None:
            self._metrics.endings[reason].inc()
        self._judge(told)
        self._say(
            "ended",
            status=told.status.value,
            reason=reason.value if reason else None,
            prompt_tokens=told.prompt_tokens,
            generated_tokens=told.generated_tokens,
            seconds=round(now - self._asked_at, 4),
        )
        failed = reason.value if reason and told.status is Status.FAILED else ""
        self._record(now, told.status.value, failed, generated_tokens=told.generated_tokens)

    def left(self, now: float) -> None:
        """Note that the asker's connection went away first."""
        self._metrics.left.inc()
        self._say("left")
        self._record(now, "left")

    def _shown(self, now: float) -> None:
        if not self._first_at:
            self._first_at = now
            self._metrics.first_token.observe(now - self._asked_at)
            self._say("first_token", seconds=round(now - self._asked_at, 4))
        self._shown_at = now

    def _judge(self, told: Snapshot) -> None:
        """Count an answer that was good from its first token to its last."""
        tokens = told.generated_tokens - 1
        per_token = (self._shown_at - self._first_at) / tokens if tokens > 0 and self._first_at else 0.0
        if per_token > 0:
            self._metrics.per_token.observe(per_token)
        goal = self._metrics.goal
        by_itself = told.ended is not None and reason_of(told.ended) in (Reason.STOP, Reason.LENGTH)
        quick = bool(self._first_at) and self._first_at - self._asked_at <= goal.first_token
        if by_itself and quick and per_token <= goal.per_token:
            self._metrics.good.inc()

    def _say(self, event: str, **fields: object) -> None:
        self._log.info(event, self._response_id, trace_id=self._trace.context.trace_id, **fields)

    def _record(self, now: float, status: str, failed: str = "", **counts: int) -> None:
        """Record the spans of the door: the whole, its way into the store, and the relay."""
        trace, end = self._trace, ago(0)
        told: Attributes = {"tokenwire.response_id": self._response_id, "tokenwire.status": status}
        counted = {f"tokenwire.{name}": count for name, count in counts.items()}
        context, began = trace.context, ago(now - self._asked_at)
        accepted = ago(now - self._accepted_at)
        submit = Span("submit", context.child(secrets.token_hex(8)), context, began, accepted, told)
        trace.record(submit)
        if self._first_at:
            first = ago(now - self._first_at)
            trace.record(Span("relay", context.child(secrets.token_hex(8)), context, first, end, told))
        trace.record(Span("response", context, trace.parent, began, end, {**told, **counted}, failed=failed))
