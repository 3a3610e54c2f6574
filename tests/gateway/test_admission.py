import io
import itertools
import time
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from gateway import retry
from gateway.admission import Admission
from gateway.create import Create, Defaults
from gateway.errors import Code
from gateway.meter import Meter
from gateway.metrics import Metrics
from gateway.models import Models
from gateway.principal import Credential, Principal
from gateway.refusal import refusal
from shared.log import partition_of
from shared.observe import make_logger
from shared.quota import UNBOUNDED, Quota
from shared.store.contract import Refused, StoreUnavailable, WorkerInfo
from shared.store.gateway import RedisGatewayStore
from shared.store.keys import idempotency_partition
from shared.store.link import Link
from shared.store.memory import MemoryGatewayStore, MemoryServer, MemoryWorkerStore
from shared.store.meters import RedisMeters
from shared.store.worker import RedisWorkerStore

ALICE = Principal("alice", Credential.KEY)


class Forgetful(MemoryGatewayStore):
    """A store whose first replies are lost after it has done the work."""

    lost = 0
    full = False

    async def submit(self, request, watcher, bound):
        if self.full:
            return Refused.STORAGE_FULL
        reply = await super().submit(request, watcher, bound)
        if self.lost:
            self.lost -= 1
            raise StoreUnavailable("reply lost")
        return reply


@pytest.fixture
async def desk(monkeypatch):
    monkeypatch.setattr(retry, "_REPEATS", (0.0, 0.0))
    server = MemoryServer(time.time)
    worker = MemoryWorkerStore(server, worker="w", model="tiny", build="b")
    await worker.announce(WorkerInfo("w", "tiny", "b", 512, 4))
    store = Forgetful(server)
    registry = CollectorRegistry()
    draws = iter(range(10**6))
    made = Admission(
        store,
        Models(store),
        defaults=Defaults(),
        bound=2,
        draw=lambda: next(draws),
        log=make_logger("gateway", io.StringIO()),
        metrics=Metrics(registry),
        meter=Meter.of(None, "gateway", UNBOUNDED, time.monotonic),
    )
    return made, store, server, registry


async def test_a_lost_reply_makes_no_second_response(desk):
    made, store, server, _ = desk
    store.lost = 2
    accepted = await made.submit(Create(input="x"), ALICE, "tab")
    assert list(server.records) == [accepted.response_id]
    assert not accepted.duplicate


async def test_a_store_out_of_reach_is_said(desk):
    made, store, _, registry = desk
    store.lost = 3
    error = await made.submit(Create(input="x"), ALICE, "tab")
    assert error.code is Code.BACKEND_UNAVAILABLE
    assert registry.get_sample_value("tokenwire_requests_total", {"outcome": "refused"}) == 1


async def test_the_bound_and_a_full_store_are_refused(desk):
    made, store, _, _ = desk
    for _ in range(2):
        await made.submit(Create(input="x"), ALICE, None)
    assert (await made.submit(Create(input="x"), ALICE, None)).code is Code.OVERLOADED
    store.full = True
    assert (await made.submit(Create(input="x"), ALICE, None)).code is Code.STORAGE_FULL


@pytest.fixture
async def spread(valkey):
    """Eight partitions with room for one each, and draws that all fall upon the first."""
    link = Link.to(valkey)
    await link.command("FLUSHALL")
    store = RedisGatewayStore(link, name="gateway", partitions=8)
    worker = RedisWorkerStore(link, valkey, worker="w", model="tiny", build="b", partitions=8)
    await worker.announce(WorkerInfo("w", "tiny", "b", 512, 4))
    await worker.close()
    yield (
        Admission(
            store,
            Models(store),
            defaults=Defaults(),
            bound=8,
            draw=lambda: 0,
            log=make_logger("gateway", io.StringIO()),
            metrics=Metrics(CollectorRegistry()),
            meter=Meter.of(RedisMeters(link), "gateway", UNBOUNDED, time.monotonic),
        ),
        store,
    )
    await link.close()


async def test_a_full_partition_refuses_nobody_while_others_have_room(spread):
    made, store = spread
    each = Defaults().max_tokens + 1
    alice = replace(ALICE, quota=Quota(responses=8, requests_per_minute=9, tokens_per_minute=8 * each + 1000))

    accepted = [await made.submit(Create(input="x"), alice, None) for _ in range(8)]
    too_many = await made.submit(Create(input="x"), replace(ALICE, name="bob"), None)

    assert {partition_of(each.response_id) for each in accepted} == set(range(8))
    assert await store.waiting("tiny") == 8
    assert too_many.code is Code.OVERLOADED
    # Places were given back where nothing came of them: eight run, and eight are counted.
    assert (await made.submit(Create(input="x"), alice, None)).code is Code.TOO_MANY_ACTIVE
    # So were tokens, and taken again under the other id; the request itself was counted once.
    requests, tokens = accepted[-1].rates
    assert (requests.left, tokens.left >= 1000) == (1, True)


async def test_an_idempotency_key_stays_in_its_partition(spread):
    made, _ = spread
    keyed = Create(input="x", idempotency_key="k")
    home = partition_of((await made.submit(keyed, ALICE, None)).response_id)
    others = (f"k{n}" for n in itertools.count())
    rival = next(key for key in others if idempotency_partition(ALICE.name, key, 8) == home)

    assert (await made.submit(Create(input="x", idempotency_key=rival), ALICE, None)).code is Code.OVERLOADED
    assert (await made.submit(keyed, ALICE, None)).duplicate


async def test_the_doors_own_keep_counts_unless_the_asker_says_otherwise(desk):
    made, _, server, _ = desk
    for keep in (None, 5.0):
        await made.submit(Create(input="x", keep=keep), ALICE, None, keep=0.0)
    assert [record.request.keep for record in server.records.values()] == [0.0, 5.0]


async def test_a_foreign_response_cannot_be_cancelled(desk):
    made, _, _, _ = desk
    accepted = await made.submit(Create(input="x"), ALICE, None)
    assert (await made.cancel(accepted.response_id, "bob")).code is Code.RESPONSE_NOT_FOUND
    assert not (await made.cancel(accepted.response_id, ALICE.name)).already


def test_a_refusal_of_the_store_names_the_field_that_was_wrong():
    assert refusal(Refused.UNKNOWN).param == "response_id"
    assert refusal(Refused.OUT_OF_RANGE).param == "starting_after"


def test_every_refusal_of_the_store_has_its_words():
    assert {refusal(each).status for each in Refused} <= {400, 404, 410, 503}
