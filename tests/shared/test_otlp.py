import subprocess
import sys

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from shared.otlp import exported, recorder
from shared.settings import SettingsError
from shared.trace import Context, Span, untraced

ROOT = Context("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", sampled=True)
CHILD = ROOT.child("11f067aa0ba902b7")


@pytest.fixture
def spans():
    kept = InMemorySpanExporter()
    record, close = recorder(SimpleSpanProcessor(kept), "tokenwire-test")
    yield record, kept.get_finished_spans
    close()


def test_a_span_keeps_its_ids_times_and_words(spans):
    record, finished = spans
    record(Span("submit", CHILD, ROOT, 10.5, 11.25, {"tokenwire.response_id": "resp_1", "n": 3}))
    (span,) = finished()
    assert span.name == "submit"
    assert f"{span.context.trace_id:032x}" == ROOT.trace_id
    assert f"{span.context.span_id:016x}" == CHILD.span_id
    assert f"{span.parent.span_id:016x}" == ROOT.span_id
    assert (span.start_time, span.end_time) == (10_500_000_000, 11_250_000_000)
    assert dict(span.attributes) == {"tokenwire.response_id": "resp_1", "n": 3}
    assert span.resource.attributes["service.name"] == "tokenwire-test"
    assert span.status.status_code is StatusCode.UNSET


def test_a_span_without_a_parent_begins_a_trace_and_links_point_elsewhere(spans):
    record, finished = spans
    other = Context("ab" * 16, "cd" * 8)
    record(Span("resume", ROOT, None, 1, 2, links=(other,)))
    (span,) = finished()
    assert span.parent is None
    assert [(link.context.trace_id, link.context.span_id) for link in span.links] == [
        (int("ab" * 16, 16), int("cd" * 8, 16))
    ]


def test_a_failed_span_says_why(spans):
    record, finished = spans
    record(Span("compute", ROOT, None, 1, 2, failed="server_error"))
    (span,) = finished()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "server_error")


def test_an_end_before_the_beginning_is_mended(spans):
    record, finished = spans
    record(Span("queue", ROOT, None, 5, 4))
    (span,) = finished()
    assert span.end_time == span.start_time


def test_what_is_not_sampled_is_not_recorded(spans):
    record, finished = spans
    record(Span("submit", Context(ROOT.trace_id, ROOT.span_id), None, 1, 2))
    assert finished() == ()


def test_without_a_collector_spans_are_let_go_and_nothing_is_imported():
    with exported("", "tokenwire-test") as record:
        assert record is untraced
    # redis-py imports the library's metrics wherever they are installed; what exports spans is ours alone.
    code = (
        "import sys, gateway.app, worker.app\n"
        "assert not {'opentelemetry.sdk.trace', 'opentelemetry.exporter'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("endpoint", ["collector:4318", "grpc://collector:4317", "http://"])
def test_what_is_no_collector_is_refused_with_a_sentence(endpoint):
    with pytest.raises(SettingsError, match="write it as http://collector:4318"), exported(endpoint, "x"):
        pass
