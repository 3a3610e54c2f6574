import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from shared.histogram import EventLoopHistogram

EDGES = (0.5, 1.0, 2.5)


def shown(registry):
    """Return what Prometheus reads, without the time at which the library's own was made."""
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if "_created" not in line]


@given(st.lists(st.sampled_from([0.0, 0.25, *EDGES, 3.0, 1000.0]) | st.floats(0, 10)))
def test_it_shows_what_the_librarys_own_histogram_shows(values):
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    histogram = EventLoopHistogram("gaps_seconds", "Gaps.", EDGES, ours)
    peer = Histogram("gaps_seconds", "Gaps.", buckets=EDGES, registry=theirs)
    for value in values:
        histogram.observe(value)
        peer.observe(value)
    assert shown(ours) == shown(theirs)


def test_a_second_one_of_the_same_name_is_refused():
    registry = CollectorRegistry()
    EventLoopHistogram("gaps_seconds", "Gaps.", EDGES, registry)
    with pytest.raises(ValueError, match="gaps_seconds"):
        Histogram("gaps_seconds", "Gaps.", registry=registry)
