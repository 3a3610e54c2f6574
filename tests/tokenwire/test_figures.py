import pytest

from shared.observe import ITL_BUCKETS, TTFT_BUCKETS
from shared.store.contract import Announced, AnnouncedGateway, GatewayInfo, WorkerInfo
from tokenwire.figures import Look, figures, quantile


def worker(name="w", until=10.0, alive=True, **fields):
    known = {"context_length": 100, "slots": 8}
    return Announced(WorkerInfo(name, "m", "b", **(known | fields)), alive, until)


def gateway(name="g", until=10.0, alive=True, **fields):
    return AnnouncedGateway(GatewayInfo(name, **fields), alive, until)


def counted(edges, **at):
    counts = [0] * (len(edges) + 1)
    for index, count in at.items():
        counts[int(index[1:])] = count
    return tuple(counts)


def test_a_rate_is_what_was_made_between_two_announcements():
    first = Look([], [worker(until=10, generated_tokens=100)], {"m": 3})
    last = Look([], [worker(until=13, generated_tokens=160, running=5)], {"m": 1})
    shown = figures(first, last)
    assert shown.workers[0].tokens_per_second == shown.tokens_per_second == 20
    assert (shown.running, shown.slots, shown.waiting) == (5, 8, {"m": 1})


def test_what_has_not_been_announced_anew_has_no_rate_yet():
    one = Look([gateway()], [worker(generated_tokens=100)], {})
    shown = figures(one, one)
    assert shown.tokens_per_second is None
    assert shown.workers[0].tokens_per_second is None
    assert shown.gateways[0].answers_per_second is None
    assert shown.latencies.first_token_p50 is None


def test_a_process_that_began_anew_has_no_negative_rate():
    first = Look([], [worker(until=10, generated_tokens=100)], {})
    last = Look([], [worker(until=13, generated_tokens=7)], {})
    assert figures(first, last).tokens_per_second == 0


def test_the_dead_come_last_and_do_not_count():
    look = Look(
        [], [worker("a", alive=False, running=4), worker("b", running=2), worker("c", draining=True)], {}
    )
    shown = figures(look, look)
    assert [(row.worker, row.state) for row in shown.workers] == [
        ("b", "ready"),
        ("c", "draining"),
        ("a", "gone"),
    ]
    assert (shown.running, shown.slots) == (2, 16)


def test_latencies_are_those_of_all_gateways_between_the_looks():
    before = [
        gateway("a", 10, first_token=counted(TTFT_BUCKETS, _3=90)),
        gateway("b", 10, first_token=counted(TTFT_BUCKETS)),
    ]
    after = [
        gateway("a", 13, first_token=counted(TTFT_BUCKETS, _3=90, _7=10), ended={"completed": 10}),
        gateway("b", 14, first_token=counted(TTFT_BUCKETS, _7=10), inter_token=counted(ITL_BUCKETS, _2=4)),
    ]
    shown = figures(Look(before, [], {}), Look(after, [], {}))
    assert 0.08 < shown.latencies.first_token_p50 <= 0.1  # the 90 were there before
    assert shown.latencies.between_tokens_p50 is None  # b had told of none before, as another version may
    assert [row.answers_per_second for row in shown.gateways] == [pytest.approx(10 / 3), 0]


@pytest.mark.parametrize(
    ("q", "counts", "expected"),
    [
        (0.5, [4, 0, 0], 0.5),
        (1.0, [4, 0, 0], 1.0),
        (0.5, [2, 2, 0], 1.0),
        (0.75, [2, 2, 0], 1.5),
        (0.99, [0, 0, 5], 2.0),
        (0.5, [0, 0, 0], None),
    ],
)
def test_a_quantile_lies_within_its_bucket(q, counts, expected):
    assert quantile(q, counts, (1.0, 2.0)) == expected
