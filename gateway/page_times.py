"""What people felt in front of the page: times that it measured itself, shown next to the server's own.

Where the two differ, something on the way buffers.  A page's word cannot be checked, so it is bounded: numbers
alone, so many in a report, so many reports a minute from one principal.  A report holds no content and no id.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta
from prometheus_client import CollectorRegistry, Counter, Histogram

from gateway.errors import Code, RefusedError, WireError
from shared.observe import ITL_BUCKETS, TTFT_BUCKETS

REPORT_BYTES = 16 * 1024
REPORTS_PER_MINUTE = 30
_MOST_PRINCIPALS = 4096
_PAINT_BUCKETS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.012, 0.016, 0.033, 0.05, 0.1, 0.25, 1.0)
"""Seconds; a frame at 60 Hz has 0.016."""

Seconds = Annotated[float, Meta(ge=0, le=3600)]
Times = Annotated[list[Seconds], Meta(max_length=512)]


class Report(msgspec.Struct, frozen=True):
    """One batch of a page: seconds, in the order in which they were measured."""

    ttft: Times = []
    """From pressing Send to the first painted text, one per answer."""
    gaps: Times = []
    """Between successive deltas as they came to the page."""
    paints: Times = []
    """How long the page worked for one painted frame."""
    resumes: Annotated[int, Meta(ge=0, le=10_000)] = 0
    """Times that a lost socket was bridged."""


class PageTimes:
    """Counts reports into metrics of their own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, text, namespace="tokenwire", buckets=buckets, registry=registry)

        self._ttft = histogram(
            "page_time_to_first_token_seconds", "From Send to the first painted text.", TTFT_BUCKETS
        )
        self._gaps = histogram(
            "page_inter_token_latency_seconds", "Between deltas as they came to the page.", ITL_BUCKETS
        )
        self._paints = histogram("page_paint_seconds", "Work of the page for one frame.", _PAINT_BUCKETS)
        self._resumes = Counter(
            "page_resumes", "Lost sockets that the page bridged.", namespace="tokenwire", registry=registry
        )
        reports = Counter(
            "page_reports", "Reports of pages.", ["outcome"], namespace="tokenwire", registry=registry
        )
        self._taken, self._too_many = reports.labels("taken"), reports.labels("refused")
        self._allowances = Allowances(REPORTS_PER_MINUTE, _MOST_PRINCIPALS)

    def take(self, raw: bytes, principal: str, now: float) -> None:
        """Count one report.  Raises RefusedError."""
        if len(raw) > REPORT_BYTES:
            raise RefusedError(WireError(Code.MESSAGE_TOO_LARGE))
        if not self._allowances.take(principal, now):
            self._too_many.inc()
            sentence = f"A page may report {REPORTS_PER_MINUTE} times a minute: join your measurements."
            raise RefusedError(WireError(Code.RATE_LIMIT_EXCEEDED, sentence, retry_after=2))
        report = _parsed(raw)
        self._taken.inc()
        self._resumes.inc(report.resumes)
        for histogram, seconds in (
            (self._ttft, report.ttft),
            (self._gaps, report.gaps),
            (self._paints, report.paints),
        ):
            _observe(histogram, seconds)


class Allowances:
    """A token bucket per name; the least recently seen name is forgotten first, and so begins anew."""

    def __init__(self, per_minute: float, most: int) -> None:
        self._per_minute = per_minute
        self._most = most
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Name -> what it may take, and as of when."""

    def take(self, name: str, now: float) -> bool:
        """Take one from the name's bucket; ``now`` in seconds."""
        left, at = self._left.pop(name, (self._per_minute, now))
        left = min(self._per_minute, left + (now - at) * self._per_minute / 60)
        allowed = left >= 1
        self._left[name] = (left - 1 if allowed else left, now)
        if len(self._left) > self._most:
            self._left.popitem(last=False)
        return allowed


def _observe(histogram: Histogram, seconds: Sequence[float]) -> None:
    for each in seconds:
        histogram.observe(each)


def _parsed(raw: bytes) -> Report:
    try:
        return msgspec.json.decode(raw, type=Report)
    except msgspec.ValidationError as problem:
        raise RefusedError(WireError(Code.INVALID_REQUEST, str(problem))) from None
    except msgspec.DecodeError:
        raise RefusedError(WireError(Code.INVALID_JSON)) from None
