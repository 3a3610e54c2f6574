import itertools

import pytest

from shared.trace import Context, begin, parse, span_of_claim, trace_id_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def counting():
    numbers = itertools.count(1)
    return lambda size: f"{next(numbers):0{2 * size}x}"


def test_a_header_is_read_and_written_alike():
    for flags in ("00", "01"):
        header = f"00-{TRACE}-{SPAN}-{flags}"
        assert parse(header) == Context(TRACE, SPAN, sampled=flags == "01")
        assert parse(header).header == header
        assert trace_id_of(header) == TRACE


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "nonsense",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\r\nX: y",
    ],
)
def test_a_header_that_is_not_well_formed_is_as_good_as_none(header):
    assert parse(header) is None
    assert trace_id_of(header or "") == ""


def test_a_later_version_is_read_as_far_as_it_is_known():
    assert parse(f"cc-{TRACE}-{SPAN}-01-what-the-future-brings") == Context(TRACE, SPAN, sampled=True)


def test_other_flags_do_not_make_a_trace_recorded():
    assert not parse(f"00-{TRACE}-{SPAN}-02").sampled
    assert parse(f"00-{TRACE}-{SPAN}-03").sampled


def test_a_response_goes_on_in_its_askers_trace_and_keeps_its_decision():
    parent = parse(f"00-{TRACE}-{SPAN}-00")
    made = begin(parent, counting(), sampled=True)
    assert (made.trace_id, made.sampled) == (TRACE, False)
    assert made.span_id != SPAN


def test_without_an_asker_a_trace_is_begun():
    made = begin(None, counting(), sampled=True)
    assert parse(made.header) == made
    assert made.sampled


def test_everybody_computes_the_same_span_for_a_claim_and_another_for_the_next():
    context = Context(TRACE, SPAN, sampled=True)
    first = span_of_claim(context, "resp_1", 5)
    assert first == span_of_claim(Context(TRACE, "ab" * 8, sampled=True), "resp_1", 5)
    assert first.trace_id == TRACE
    assert (
        len(
            {
                first.span_id,
                span_of_claim(context, "resp_1", 6).span_id,
                span_of_claim(context, "resp_2", 5).span_id,
            }
        )
        == 3
    )
    assert parse(first.header) == first
