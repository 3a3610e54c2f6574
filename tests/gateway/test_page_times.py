import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from gateway.errors import Code, RefusedError
from gateway.page_times import REPORT_BYTES, REPORTS_PER_MINUTE, Allowances, PageTimes

REPORT = {"ttft": [0.2], "gaps": [0.02, 0.03], "paints": [0.001, 0.002, 0.003], "resumes": 1}


@pytest.fixture
def registry():
    return CollectorRegistry()


def refused(times, raw, principal="ann", now=0.0):
    with pytest.raises(RefusedError) as caught:
        times.take(raw, principal, now)
    return caught.value.error


def test_a_report_is_counted_into_metrics_of_the_pages_own(registry):
    PageTimes(registry).take(json.dumps(REPORT).encode(), "ann", 0.0)
    value = registry.get_sample_value
    assert value("tokenwire_page_time_to_first_token_seconds_sum") == pytest.approx(0.2)
    assert value("tokenwire_page_inter_token_latency_seconds_count") == 2
    assert value("tokenwire_page_paint_seconds_count") == 3
    assert value("tokenwire_page_resumes_total") == 1
    assert value("tokenwire_page_reports_total", {"outcome": "taken"}) == 1


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"{", Code.INVALID_JSON),
        (b"[]", Code.INVALID_REQUEST),
        (b'{"ttft":[-1]}', Code.INVALID_REQUEST),
        (b'{"gaps":["soon"]}', Code.INVALID_REQUEST),
        (b'{"gaps":[1e9]}', Code.INVALID_REQUEST),
        (json.dumps({"gaps": [0.1] * 513}).encode(), Code.INVALID_REQUEST),
        (b" " * (REPORT_BYTES + 1), Code.MESSAGE_TOO_LARGE),
    ],
)
def test_a_bad_report_is_refused_and_counts_nothing(registry, raw, code):
    assert refused(PageTimes(registry), raw).code is code
    assert registry.get_sample_value("tokenwire_page_inter_token_latency_seconds_count") == 0


def test_one_who_reports_too_often_is_told_so_and_others_are_heard(registry):
    times, raw = PageTimes(registry), json.dumps(REPORT).encode()
    for _ in range(REPORTS_PER_MINUTE):
        times.take(raw, "ann", 0.0)
    error = refused(times, raw)
    assert (error.code, error.retry_after) == (Code.RATE_LIMIT_EXCEEDED, 2)
    times.take(raw, "bob", 0.0)
    times.take(raw, "ann", 2.0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 5)), max_size=200))
def test_no_name_ever_takes_more_than_its_rate_allows(steps):
    allowances, now, taken = Allowances(10, 100), 0.0, dict.fromkeys("abc", 0)
    for name, pause in steps:
        now += pause
        taken[name] += allowances.take(name, now)
    assert all(count <= 10 + now * 10 / 60 + 1e-6 for count in taken.values())


def test_the_names_that_are_remembered_are_bounded():
    allowances = Allowances(1, 2)
    assert [allowances.take(name, 0.0) for name in "abcbca"] == [True, True, True, False, False, True]


async def test_a_page_reports_over_http(bench):
    async with bench.http() as client:
        answer = await client.post("/v1/page/times", json=REPORT)
        bad = await client.post("/v1/page/times", content=b"{")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (bad.status_code, bad.json()["error"]["code"]) == (400, "invalid_json")
    assert bench.metric("page_inter_token_latency_seconds_count") == 2
