import pytest
from store_bench import LEASES

from shared.log import Status, new_response_id
from shared.request import Message, Request, Sampling
from shared.store.census import Census
from shared.store.gateway import RedisGatewayStore
from shared.store.link import Link
from shared.store.worker import RedisWorkerStore


@pytest.fixture
async def link(valkey):
    made = Link.to(valkey)
    await made.command("FLUSHALL")
    yield made
    await made.close()


def request(partition, principal="alice"):
    sampling = Sampling(max_tokens=4, seed=1)
    return Request(new_response_id(partition), "m", principal, (Message("user", "hi"),), sampling, keep=-1)


async def test_all_that_has_not_ended_is_seen_in_every_partition_oldest_first(link, valkey):
    store = RedisGatewayStore(link, name="g", partitions=3, leases=LEASES)
    census = Census(link, 3)
    assert await census.unfinished() == []
    first, second, third = request(0), request(1, "bob"), request(2)
    for each, watcher in ((first, "tab"), (second, None), (third, None)):
        await store.submit(each, watcher, 64)
    worker = RedisWorkerStore(link, valkey, worker="w-1", model="m", build="b", partitions=3, leases=LEASES)
    claims = {each.response_id: each for each in await worker.claim(2, lambda: True)}
    await store.cancel(third.response_id, "alice")
    seen = {each.response_id: each for each in await census.unfinished()}
    assert set(seen) == {first.response_id, second.response_id}
    for each in seen.values():
        claimed = each.response_id in claims
        assert each.status is (Status.RUNNING if claimed else Status.QUEUED)
        assert each.worker == ("w-1" if claimed else "")
        assert each.events == (4 if claimed else 1)
        assert each.age >= 0
    assert seen[first.response_id].viewers == 1
    assert seen[second.response_id].viewers == 0
    assert seen[second.response_id].principal == "bob"
    await worker.close()


async def test_what_was_released_has_no_worker(link, valkey):
    store = RedisGatewayStore(link, name="g", leases=LEASES)
    await store.submit(request(0), None, 64)
    worker = RedisWorkerStore(link, valkey, worker="w-1", model="m", build="b", leases=LEASES)
    (claim,) = await worker.claim(1, lambda: True)
    await worker.release(claim)
    (seen,) = await Census(link, 1).unfinished()
    assert (seen.status, seen.worker) == (Status.RUNNING, "")
    await worker.close()


async def test_whose_a_response_is_can_be_asked(link):
    store = RedisGatewayStore(link, name="g", leases=LEASES)
    mine = request(0)
    await store.submit(mine, None, 64)
    assert await Census(link, 1).principal_of(mine.response_id) == "alice"
    assert await Census(link, 1).principal_of(new_response_id(0)) is None
