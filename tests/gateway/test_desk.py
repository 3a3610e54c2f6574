import io
from unittest.mock import MagicMock

import pytest
from gateway_logs import make_request
from prometheus_client import CollectorRegistry

from gateway.admission import Accepted
from gateway.desk import Desk
from gateway.metrics import Metrics
from gateway.times import Asking, Resuming, Tracing, Viewing
from shared.observe import make_logger
from shared.trace import parse

ASKER = f"00-{'a' * 32}-{'b' * 16}-01"


@pytest.fixture
def spans():
    return []


@pytest.fixture
def desk(spans):
    parts = {name: MagicMock() for name in ("hub", "admission", "limits", "tasks", "drain", "meter")}
    return Desk(
        **parts,
        clock=lambda: 5.0,
        log=make_logger("gateway", io.StringIO()),
        metrics=Metrics(CollectorRegistry()),
        tracing=Tracing(spans.append),
    )


def accepted(desk, *, duplicate):
    return Accepted("resp_1", "tiny", duplicate, desk.tracing.begin(ASKER))


def test_an_asker_has_a_span_for_its_response_below_its_own(desk, spans):
    times = desk.asking(accepted(desk, duplicate=False), 4.0, ASKER)
    assert isinstance(times, Asking)
    times.left(7.0)
    response = spans[-1]
    assert (response.name, response.parent) == ("response", parse(ASKER))
    assert response.context.trace_id == "a" * 32


def test_who_asks_for_the_same_again_only_watches(desk, spans):
    times = desk.asking(accepted(desk, duplicate=True), 4.0, ASKER)
    assert type(times) is Viewing
    times.left(7.0)
    assert spans == []


def test_who_comes_with_a_cursor_has_a_span_for_that(desk, spans):
    times = desk.resuming(ASKER)
    assert isinstance(times, Resuming)
    times.joined(make_request(), 5.0)
    times.left(6.0)
    (resume,) = spans
    assert (resume.name, resume.parent) == ("resume", parse(ASKER))
