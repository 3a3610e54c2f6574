import asyncio
import time
from dataclasses import replace

import pytest
from servers import Nodes, Watched
from store_bench import eventually, on_server

from shared.log import Reason
from shared.store.connect import connect
from shared.store.contract import Append
from shared.store.meters import RUNNING, TOKENS, Charge, Exceeded, Place, RedisMeters, Scope, Who

ALICE, BOB = Scope(Who.PRINCIPAL, "alice"), Scope(Who.PRINCIPAL, "bob")
HOME = Scope(Who.ADDRESS, "alice")
LEASE = 30.0


@pytest.fixture(params=["valkey", "redis7", "sentinel", "nodes-8"])
async def bench(request):
    """A store on each kind of server, and what counts on it."""
    server, _, partitions = request.param.partition("-")
    running: str | Watched | Nodes = request.getfixturevalue(server)
    url = running if isinstance(running, str) else running.url
    async with on_server(url, int(partitions or 1)) as made:
        link = connect(url)
        made.link, made.meters = link, RedisMeters(link, grace=1.0)
        yield made
        await link.close()


def place(response_id, most=2):
    return Place(response_id, most, 60.0)


# ---- rates


async def test_a_bucket_gives_its_allowance_at_once_and_then_says_how_long_to_wait(bench):
    charge = Charge("requests", 3)
    for left in (2, 1, 0):
        (rate,) = await bench.meters.take(ALICE, None, [charge])
        assert (rate.bucket, rate.limit, rate.left) == ("requests", 3, left)
        assert 20 * (3 - left) - 10 < rate.full_in <= 20 * (3 - left)
    refused = await bench.meters.take(ALICE, None, [charge])
    assert isinstance(refused, Exceeded)
    assert refused.bucket == "requests"
    assert 10 < refused.wait <= 20
    assert refused.rates[0].left == 0


async def test_what_was_taken_comes_back_bit_by_bit(bench):
    fast = Charge("requests", 600)  # one every 100 ms
    (rate,) = await bench.meters.take(ALICE, None, [replace(fast, cost=600)])
    assert rate.left == 0
    taken = await eventually(lambda: took(bench, fast))
    assert taken[0].left < 300, "not the whole minute's at once"


async def took(bench, charge):
    reply = await bench.meters.take(ALICE, None, [charge])
    return None if isinstance(reply, Exceeded) else reply


async def test_each_is_counted_for_itself(bench):
    charge = Charge("requests", 1)
    for scope in (ALICE, BOB, HOME):
        assert not isinstance(await bench.meters.take(scope, None, [charge]), Exceeded)
        assert not isinstance(await bench.meters.take(scope, None, [replace(charge, bucket="b")]), Exceeded)
        assert isinstance(await bench.meters.take(scope, None, [charge]), Exceeded)


async def test_where_one_bucket_is_too_empty_nothing_is_taken_of_the_others(bench):
    requests, tokens = Charge("requests", 10), Charge("tokens", 10, 8)  # one of each comes back in 6 s
    await bench.meters.take(ALICE, place("a"), [requests, tokens])
    refused = await bench.meters.take(ALICE, place("b"), [requests, tokens])
    assert (refused.bucket, [rate.left for rate in refused.rates]) == ("tokens", [9, 2])
    rates = await bench.meters.take(ALICE, place("c"), [requests, replace(tokens, cost=2)])
    assert [rate.left for rate in rates] == [8, 0]


async def test_who_asks_for_more_than_a_minutes_allowance_gets_it_from_a_full_bucket(bench):
    big = Charge("tokens", 100, 5000)
    assert (await bench.meters.take(ALICE, None, [big]))[0].left == 0
    assert isinstance(await bench.meters.take(ALICE, None, [big]), Exceeded)


async def test_many_at_once_get_exactly_the_allowance(bench):
    charge = Charge("requests", 7)
    replies = await asyncio.gather(*(bench.meters.take(ALICE, None, [charge]) for _ in range(50)))
    assert sum(not isinstance(reply, Exceeded) for reply in replies) == 7


async def test_everything_counted_expires(bench):
    await bench.meters.take(ALICE, place("a"), [Charge("requests", 3), Charge("tokens", 100, reserved=True)])
    await bench.meters.tally(ALICE, "g1", 1, 2, LEASE)
    found = 0
    for primary in await bench.link.primaries():
        for key in await primary.command("KEYS", "{u*"):
            assert 0 < await primary.command("PTTL", key) <= 61_000, key
            assert b"alice" not in key
            found += 1
    assert found == 5


# ---- running responses


async def test_a_place_is_free_again_when_its_response_has_ended_however_it_did(bench):
    first, second = await bench.submitted(), await bench.submitted()
    for request in (first, second):
        assert not isinstance(await bench.meters.take(ALICE, place(request.response_id), []), Exceeded)
    assert (await bench.meters.take(ALICE, place("next"), [])).bucket == RUNNING
    assert await bench.meters.settle(ALICE) == 0, "both may still run"
    await bench.gateway.cancel(first.response_id, "alice")
    assert await bench.meters.settle(ALICE) == 1
    third = await bench.submitted()
    assert not isinstance(await bench.meters.take(ALICE, place(third.response_id), []), Exceeded)
    worker = await bench.worker()
    claim = await bench.claimed(worker)
    await worker.finish(claim, claim.upto, Reason.STOP)
    assert await bench.meters.settle(ALICE) == 1


async def test_a_place_without_a_response_is_kept_for_its_submit_and_no_longer(bench):
    request = bench.request()
    await bench.meters.take(ALICE, place(request.response_id), [])
    assert await bench.meters.settle(ALICE) == 0
    assert await eventually(lambda: bench.meters.settle(ALICE)) == 1


async def test_a_repeated_take_takes_no_second_place_and_one_given_back_is_free(bench):
    for _ in range(3):
        assert not isinstance(await bench.meters.take(ALICE, place("a", 1), []), Exceeded)
    assert isinstance(await bench.meters.take(ALICE, place("b", 1), []), Exceeded)
    await bench.meters.give_back(ALICE, "a")
    assert not isinstance(await bench.meters.take(ALICE, place("b", 1), []), Exceeded)


# ---- reservations: what a response did not use of the tokens comes back


PER_SECOND = 10
"""Tokens that come back in a second, of the bucket of these tests."""
MINUTE = 60 * PER_SECOND


async def reserve(bench, response_id, cost, most=0):
    charge = Charge(TOKENS, MINUTE, cost, reserved=True)
    return await bench.meters.take(ALICE, place(response_id, most), [charge])


async def seconds_taken(bench):
    """How much of the bucket's minute is taken, in seconds."""
    (rate,) = await bench.meters.take(ALICE, None, [Charge(TOKENS, MINUTE, 0)])
    return rate.full_in


async def assert_taken(bench, seconds, began):
    """Check that so much is taken, but for what came back by itself since ``began``."""
    taken = await seconds_taken(bench)
    assert max(0, seconds - (time.monotonic() - began)) - 0.001 <= taken <= seconds + 0.001


async def answered(bench, request, prompt, generated):
    """Serve a response of so many tokens to its end."""
    worker = await bench.worker()
    claim = await bench.claimed(worker)
    assert claim.response_id == request.response_id
    upto = claim.upto + 1
    append = Append(claim.response_id, claim.epoch, upto, b"x", tuple(range(generated)), prompt)
    await worker.append([append])
    await worker.finish(claim, upto, Reason.STOP)


async def test_a_response_that_ended_has_taken_what_it_used_and_is_settled_once(bench):
    request = await bench.submitted()
    began = time.monotonic()
    await reserve(bench, request.response_id, 500)
    assert await bench.meters.settle(ALICE) == 0, "it may still run"
    await assert_taken(bench, 50, began)
    await answered(bench, request, 60, 40)
    assert sum(await asyncio.gather(*(bench.meters.settle(ALICE) for _ in range(9)))) == 1
    await assert_taken(bench, 10, began)


async def test_what_was_used_beyond_the_reservation_is_taken_too_and_never_tells_less_than_nothing(bench):
    request, began = await bench.submitted(), time.monotonic()
    await reserve(bench, request.response_id, MINUTE // 2)
    await answered(bench, request, MINUTE - 1, 1)
    await reserve(bench, bench.request().response_id, MINUTE // 2)
    assert await bench.meters.settle(ALICE) == 1
    (rate,) = await bench.meters.take(ALICE, None, [Charge(TOKENS, MINUTE, 0)])
    assert rate.left == 0
    await assert_taken(bench, 90, began)
    refused = await reserve(bench, "third", 1)
    assert isinstance(refused, Exceeded)
    assert 30 - (time.monotonic() - began) < refused.wait <= 30.1


async def test_one_that_was_cancelled_before_it_began_or_came_to_nothing_gives_all_back(bench):
    request = await bench.submitted()
    await reserve(bench, request.response_id, 300)
    await reserve(bench, "nothing", 300)
    await bench.gateway.cancel(request.response_id, "alice")
    await bench.meters.give_back(ALICE, "nothing")
    await bench.meters.give_back(ALICE, "nothing")
    assert await bench.meters.settle(ALICE) == 1
    assert await seconds_taken(bench) == 0


@pytest.mark.parametrize("order", [("a", "b", "c"), ("c", "b", "a"), ("b", "a", "c")])
async def test_in_whichever_order_they_end_all_is_given_back_and_no_more(bench, order):
    began = time.monotonic()
    for each in "abc":
        await reserve(bench, each, 200)
    assert isinstance(await reserve(bench, "d", 200), Exceeded)
    for number, each in enumerate(order, 1):
        await bench.meters.give_back(ALICE, each)
        await assert_taken(bench, 60 - 20 * number, began)


async def test_what_time_has_paid_back_is_not_given_back_once_more(bench):
    await reserve(bench, "a", 5)
    await eventually(lambda: is_full(bench))
    began = time.monotonic()
    await reserve(bench, "b", MINUTE)
    await bench.meters.give_back(ALICE, "a")
    await assert_taken(bench, 60, began)


async def test_what_was_reserved_behind_a_shorter_one_has_moved_forward_with_it(bench):
    await reserve(bench, "a", 200)
    await reserve(bench, "b", 5)
    await bench.meters.give_back(ALICE, "a")
    await eventually(lambda: is_full(bench))
    began = time.monotonic()
    await reserve(bench, "c", MINUTE)
    await bench.meters.give_back(ALICE, "b")  # it was paid back by time, half a second after the start
    await assert_taken(bench, 60, began)


async def is_full(bench):
    return await seconds_taken(bench) == 0


async def test_a_repeated_reservation_is_one(bench):
    began = time.monotonic()
    for _ in range(3):
        assert not isinstance(await reserve(bench, "a", 500), Exceeded)
    await assert_taken(bench, 50, began)


async def test_a_reservation_of_which_nobody_knows_what_became_stays_taken_and_is_forgotten(bench):
    began = time.monotonic()
    await reserve(bench, bench.request().response_id, 500)
    assert await eventually(lambda: bench.meters.settle(ALICE)) == 1
    assert await bench.meters.settle(ALICE) == 0
    await assert_taken(bench, 50, began)


# ---- sockets


async def test_sockets_are_counted_over_all_gateways(bench):
    tally = bench.meters.tally
    assert await tally(ALICE, "g1", 2, 3, LEASE)
    assert await tally(ALICE, "g2", 1, 3, LEASE)
    assert not await tally(ALICE, "g2", 2, 3, LEASE)
    assert not await tally(ALICE, "g1", 3, 3, LEASE)
    assert await tally(ALICE, "g1", 2, 3, LEASE), "a repeated count changes nothing"
    assert await tally(ALICE, "g1", 1, 3, LEASE)
    assert await tally(ALICE, "g2", 2, 3, LEASE)
    assert await tally(HOME, "g2", 2, 3, LEASE)


async def test_a_killed_gateways_sockets_are_forgotten_after_a_lease(bench):
    assert await bench.meters.tally(ALICE, "killed", 3, 3, 1.0)
    assert not await bench.meters.tally(ALICE, "g2", 1, 3, LEASE)
    assert await eventually(lambda: bench.meters.tally(ALICE, "g2", 3, 3, LEASE))


async def test_without_a_bound_counts_are_kept_too(bench):
    assert await bench.meters.tally(ALICE, "g1", 1000, 0, LEASE)
    assert not await bench.meters.tally(ALICE, "g2", 1, 3, LEASE)
