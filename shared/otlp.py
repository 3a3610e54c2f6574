"""Sends spans to an OpenTelemetry collector.  Off by default, and then the library is not even imported."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from shared.settings import SettingsError
from shared.trace import Context, Record, Span, untraced

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

_PATH = "/v1/traces"


@contextlib.contextmanager
def exported(endpoint: str, service: str) -> Iterator[Record]:
    """Yield what takes finished spans; what is still on its way at the end is sent then.

    ``endpoint`` is a collector's base address (OTLP over HTTP); without one spans are let go.  Raises
    SettingsError if it is none, or if the library is not installed.
    """
    if not endpoint:
        yield untraced
        return
    record, close = recorder(_processor(endpoint), service)
    try:
        yield record
    finally:
        close()


def _processor(endpoint: str) -> SpanProcessor:
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        sentence = "OTEL_EXPORTER_OTLP_ENDPOINT is no address: write it as http://collector:4318."
        raise SettingsError([sentence])
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - costs nothing if off
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - as above
    except ImportError:
        sentence = "OTEL_EXPORTER_OTLP_ENDPOINT needs OpenTelemetry: pip install 'tokenwire[otel]'."
        raise SettingsError([sentence]) from None
    whole = endpoint.rstrip("/")
    return BatchSpanProcessor(OTLPSpanExporter(whole if whole.endswith(_PATH) else whole + _PATH, timeout=3))


def recorder(processor: SpanProcessor, service: str) -> tuple[Record, Callable[[], None]]:
    """Return what makes OpenTelemetry spans of ours, and what sends the rest and ends it."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - costs nothing if off
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - as above

    ids = _ids()
    resource = Resource.create({"service.name": service, "service.instance.id": str(os.getpid())})
    provider = TracerProvider(resource=resource, id_generator=ids, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("tokenwire")

    def record(span: Span) -> None:
        if span.context.sampled:
            ids.next = span.context
            _write(tracer, span)

    return record, provider.shutdown


def _ids() -> Any:
    """Return a generator of ids that gives those that a span has already."""
    from opentelemetry.sdk.trace.id_generator import IdGenerator  # noqa: PLC0415 - costs nothing if off

    class Given(IdGenerator):
        """Spans are made when they are over, so their ids are known long before."""

        next = Context("", "")

        def generate_span_id(self) -> int:
            return int(self.next.span_id, 16)

        def generate_trace_id(self) -> int:
            return int(self.next.trace_id, 16)

    return Given()


def _write(tracer: Any, span: Span) -> None:
    from opentelemetry.trace import Link, set_span_in_context  # noqa: PLC0415 - costs nothing if off
    from opentelemetry.trace.status import Status, StatusCode  # noqa: PLC0415 - as above

    parent = set_span_in_context(_far(span.parent)) if span.parent is not None else _root()
    made = tracer.start_span(
        span.name,
        context=parent,
        start_time=_nanoseconds(span.began),
        attributes=dict(span.attributes),
        links=[Link(_far(link).get_span_context()) for link in span.links],
    )
    if span.failed:
        made.set_status(Status(StatusCode.ERROR, span.failed))
    made.end(end_time=max(_nanoseconds(span.ended), _nanoseconds(span.began)))


def _far(context: Context) -> Any:
    """Return a context of ours as a span that is elsewhere."""
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags  # noqa: PLC0415 - costs nothing if off

    flags = TraceFlags(TraceFlags.SAMPLED if context.sampled else TraceFlags.DEFAULT)
    return NonRecordingSpan(
        SpanContext(int(context.trace_id, 16), int(context.span_id, 16), is_remote=True, trace_flags=flags)
    )


def _root() -> Any:
    """Return a context without a span: the spans of this process never nest by themselves."""
    from opentelemetry.context import Context as Empty  # noqa: PLC0415 - costs nothing if off

    return Empty()


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
