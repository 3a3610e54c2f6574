from gateway_bench import in_memory, until
from prometheus_client import CollectorRegistry, Histogram

from gateway.metrics import Metrics, Waiting, counts_of, value_of
from gateway.outbox import Outbox
from gateway.render import DeltaFrame
from shared.log import Reason
from shared.observe import ITL_BUCKETS


async def read_live(bench, client, text):
    """Ask, and read an answer that is said letter by letter once the client has its beginning."""
    await client.create()
    claim = await bench.hand.claim()
    await client.until("response.content_part.added")
    await bench.hand.say(claim, *text)
    await bench.hand.finish(claim)
    await client.until("response.completed")


async def test_the_life_of_a_response_is_logged_without_its_words(bench):
    async with bench.client() as client:
        await client.create("secret question")
        claim = await bench.hand.answer("secret answer")
        await client.until("response.completed")
    for event in ("accepted", "started", "first_token", "ended"):
        (line,) = bench.lines(event)
        assert line["response_id"] == claim.response_id
    assert bench.lines("ended")[0]["generated_tokens"] == 1
    assert "secret" not in bench.logged.getvalue()
    assert bench.metric("requests_total", outcome="completed") == 1
    assert bench.metric("time_to_first_token_seconds_count") == 1
    assert bench.metric("queue_time_seconds_count") == 1


async def test_gaps_between_live_deltas_are_measured_once_per_gap(bench):
    async with bench.client() as client:
        await read_live(bench, client, "abcde")
    assert bench.metric("inter_token_latency_seconds_count") == 4


async def test_an_answer_within_the_goal_is_good_and_its_mean_per_token_is_measured(bench):
    async with bench.client() as client:
        await read_live(bench, client, "abcde")
    assert bench.metric("good_requests_total") == 1
    assert bench.metric("time_per_output_token_seconds_count") == 1
    assert bench.metric("endings_total", reason="stop") == 1
    assert bench.metric("request_duration_seconds_count", outcome="completed") == 1


async def test_an_answer_that_is_stopped_or_fails_is_not_good(bench):
    async with bench.client() as client:
        await client.create()
        await client.until("response.created")
        await client.send(type="response.cancel")
        await client.until("response.incomplete")
        await client.create()
        claim = await bench.hand.claim()
        await bench.hand.say(claim, "a")
        await bench.hand.finish(claim, Reason.ERROR)
        await client.until("response.failed")
    assert bench.metric("good_requests_total") == 0
    assert bench.metric("endings_total", reason="server_error") == 1
    assert bench.metric("endings_total", reason="cancelled") == 1


async def test_an_answer_that_begins_too_late_is_not_good():
    async with in_memory(goal_first_token=0.0) as bench, bench.client() as client:
        await client.create()
        await bench.hand.answer("a", "b")
        await client.until("response.completed")
        assert bench.metric("requests_total", outcome="completed") == 1
        assert bench.metric("good_requests_total") == 0


async def test_what_workers_announce_and_what_waits_is_seen_at_every_gateway(bench):
    await until(lambda: bench.metric("workers", model="tiny") == 1)
    assert bench.metric("slots", model="tiny") == 4
    async with bench.client() as client:
        await client.create()
        await until(lambda: bench.metric("queue_depth", model="tiny") == 1)


async def test_a_gateway_announces_what_it_counts(bench):
    async with bench.client() as client:
        await client.create()
        await bench.hand.answer("a", "b", "c")
        await client.until("response.completed")
        await bench.gateway._announce()
        (announced,) = await bench.store.gateways()
    info = announced.info
    assert announced.alive
    assert (info.sockets, info.draining, info.ended["completed"]) == (1, False, 1)
    assert sum(info.first_token) == 1
    assert len(info.inter_token) == len(ITL_BUCKETS) + 1


def test_counts_of_a_histogram_are_per_bucket_and_not_summed_up():
    histogram = Histogram("h", "H.", buckets=(1.0, 2.0), registry=CollectorRegistry())
    for seconds in (0.5, 1.5, 1.6, 9.0):
        histogram.observe(seconds)
    assert counts_of(histogram) == (1, 2, 1)


def test_outboxes_are_shown_together_and_each_byte_and_each_merge_once():
    metrics = Metrics(CollectorRegistry())
    boxes = [(Outbox(limit=1), Waiting(metrics)) for _ in range(2)]
    frame = DeltaFrame("resp_1", 1)
    for outbox, waiting in boxes:
        for number in range(3):
            outbox.delta("a", frame, number, number, b"x", 0.0)
            waiting.show(outbox)
            waiting.show(outbox)
    assert value_of(metrics.outbox_bytes) == sum(outbox.size for outbox, _ in boxes) > 0
    assert value_of(metrics.merged) == 4
    for outbox, waiting in boxes:
        outbox.clear()
        waiting.show(outbox)
    assert (value_of(metrics.outbox_bytes), value_of(metrics.merged)) == (0, 4)
