from __future__ import annotations

import asyncio

import pytest
from scripted_engine import Rig

from shared.log import Status, escape
from shared.store.contract import StoreUnavailable


async def test_no_more_is_claimed_than_the_engine_has_slots_for():
    rig = Rig()
    for _ in range(5):
        await rig.submitted()
    worker = await rig.worker(slots=2)

    assert [await worker.claim(), worker.intake.room] == [2, 0]
    assert len(worker.engine.orders) == 2


async def test_slots_are_kept_for_hand_overs_and_a_full_worker_takes_them():
    rig = Rig()
    dead, full = await rig.worker("dead"), await rig.worker("full", slots=4, reserve=2)
    handed = [await rig.submitted(keep=-1) for _ in range(4)]
    await dead.claim()
    for response_id in handed:
        dead.engine.say(response_id, "so far", 1)
    await dead.publish()
    for _ in range(3):
        await rig.submitted(keep=-1)
    assert [await full.claim(), full.intake.room, full.intake.room_for_new] == [2, 2, 0]

    for claim in [journal.claim for journal in dead.publisher.journals.values()][:3]:
        await dead.store.release(claim)

    assert [await full.claim(), await full.claim(), full.intake.room] == [2, 0, 0]
    assert sum(response_id in full.engine.orders for response_id in handed) == 2


async def test_a_hand_over_takes_the_reserve_and_no_new_one_comes_until_it_is_free_again():
    rig = Rig()
    dead, heir = await rig.worker("dead"), await rig.worker("heir", slots=4, reserve=1)
    response_id = await rig.submitted(keep=-1)
    await dead.claim()
    await dead.store.release(dead.publisher.journals[response_id].claim)
    for _ in range(5):
        await rig.submitted(keep=-1)

    assert [await heir.claim(), heir.intake.room, heir.intake.room_for_new] == [3, 1, 0]
    assert response_id in heir.engine.orders


async def test_an_announcement_tells_what_new_requests_get():
    rig = Rig()
    worker = await rig.worker(slots=8, reserve=2)
    await worker.intake._renew()

    [announced] = await rig.gateway.workers()

    assert (announced.info.slots, announced.info.reserve, announced.info.open_slots) == (8, 2, 6)


async def test_a_hand_over_orders_the_engine_to_go_on_from_the_log():
    rig = Rig()
    response_id = await rig.submitted(keep=-1)
    dead, heir = await rig.worker("dead"), await rig.worker("heir")
    await dead.claim()
    dead.engine.say(response_id, 'say "hi"\n', 11, 12, prompt=7)
    await dead.publish()
    dead.engine.say(response_id, "", 13)
    await dead.publish()
    rig.time += 11
    assert await heir.claim() == 1

    order = heir.engine.orders[response_id]

    assert (order.resume_ids, order.resume_text) == ((11, 12), 'say "hi"\n')
    assert not order.raw
    assert heir.metrics.hand_overs._value.get() == 1


async def test_a_raw_request_is_ordered_as_one():
    rig = Rig()
    response_id = await rig.submitted(raw=True)
    worker = await rig.worker()
    await worker.claim()

    assert worker.engine.orders[response_id].raw


async def test_what_an_heir_adds_follows_what_the_dead_worker_logged():
    rig = Rig()
    response_id = await rig.submitted(keep=-1)
    dead, heir = await rig.worker("dead"), await rig.worker("heir")
    await dead.claim()
    dead.engine.say(response_id, "one ", 1)
    await dead.publish()
    rig.time += 11
    await heir.claim()

    dead.engine.say(response_id, "zombie", 2)
    await dead.publish()
    heir.engine.say(response_id, "two", 2)
    heir.engine.end(response_id)
    await heir.publish()

    assert await rig.text(response_id) == "one two"
    assert dead.engine.cancelled == [response_id]
    numbers = [entry.upto for entry in (await rig.followed(response_id)).entries]
    assert numbers == sorted(numbers)


async def test_renewed_leases_are_kept_while_the_engine_moves():
    rig = Rig()
    await rig.submitted(keep=-1)
    owner, other = await rig.worker("owner"), await rig.worker("other")
    await owner.claim()

    for _ in range(6):
        rig.time += 4
        owner.engine.step([])
        await owner.intake._renew()
        assert await other.claim() == 0


async def test_a_hung_engine_loses_its_leases():
    rig = Rig()
    await rig.submitted(keep=-1)
    hung, other = await rig.worker("hung"), await rig.worker("other")
    await hung.claim()
    await hung.intake._renew()

    for _ in range(3):
        rig.time += 4
        await hung.intake._renew()

    assert await other.claim() == 1


async def test_a_response_that_its_last_viewer_left_is_ended_by_its_owner():
    rig = Rig()
    response_id = await rig.submitted(keep=1)
    worker = await rig.worker()
    await worker.claim()
    await rig.gateway.detach(response_id, "tab")
    rig.time += 2

    worker.engine.step([])
    await worker.intake._renew()
    await worker.publish()

    assert (await rig.followed(response_id)).status is Status.CANCELLED
    assert worker.engine.cancelled == [response_id]


async def test_while_a_suspect_has_not_moved_nothing_else_is_claimed():
    rig = Rig()
    suspect = await rig.submitted(keep=-1)
    dead, heir = await rig.worker("dead"), await rig.worker("heir")
    await dead.claim()
    rig.time += 11
    await rig.submitted(keep=-1)
    assert await heir.claim() == 1
    assert list(heir.engine.orders) == [suspect]
    assert heir.intake.room == 0

    heir.engine.say(suspect, "alive", 1)
    await heir.publish()

    assert heir.intake.room == 3


async def test_a_drain_logs_what_is_computed_and_hands_over_at_once():
    rig = Rig()
    response_id = await rig.submitted()
    draining, heir = await rig.worker("draining"), await rig.worker("heir")
    await draining.claim()
    draining.engine.say(response_id, "so far", 1, 2)
    task = asyncio.create_task(draining.publisher.run())

    await draining.intake.drain(5)
    task.cancel()

    assert draining.engine.cancelled == [response_id]
    assert draining.intake.room == 0
    assert await heir.claim() == 1
    assert heir.engine.orders[response_id].resume_text == "so far"


async def test_an_announcement_tells_what_runs():
    rig = Rig()
    await rig.submitted()
    worker = await rig.worker()
    await worker.claim()
    await worker.intake._renew()

    [announced] = await rig.gateway.workers()

    assert announced.alive
    assert (announced.info.worker, announced.info.running) == ("worker-1", 1)


async def test_the_loop_claims_when_the_bell_rings():
    rig = Rig()
    worker = await rig.worker()
    loop = asyncio.create_task(worker.intake.claim_for_ever())
    await asyncio.sleep(0)

    response_id = await rig.submitted()
    await asyncio.wait_for(worker.engine.ordered.wait(), 40)
    loop.cancel()

    assert worker.engine.orders[response_id].owner == "worker-1"


async def test_a_store_that_is_away_is_said_once_and_asked_again(monkeypatch: pytest.MonkeyPatch):
    rig = Rig()
    worker = await rig.worker()
    monkeypatch.setattr("worker.intake._RETRY_SECONDS", 0)

    async def away() -> None:
        raise StoreUnavailable("away")

    assert await worker.intake._guarded(away) is None
    assert await worker.intake._guarded(away) is None

    assert rig.lines.getvalue().count("store_unavailable") == 1

    async def there() -> str:
        return "there"

    assert await worker.intake._guarded(there) == "there"
    assert await worker.intake._guarded(there) == "there"
    assert rig.lines.getvalue().count("store_answers") == 1


async def test_logged_text_is_given_back_unescaped():
    rig = Rig()
    text = 'a "b" \\ \n ☃ \u2028'
    response_id = await rig.submitted(keep=-1)
    dead, heir = await rig.worker("dead"), await rig.worker("heir")
    await dead.claim()
    dead.engine.say(response_id, text, 1)
    await dead.publish()
    assert await rig.text(response_id) == escape(text)
    rig.time += 11
    await heir.claim()

    assert heir.engine.orders[response_id].resume_text == text


async def test_a_claim_under_way_when_the_drain_begins_is_handed_over_too():
    rig = Rig()
    response_id = await rig.submitted(keep=-1)
    draining, heir = await rig.worker("draining"), await rig.worker("heir")
    claim, asked, answer = draining.store.claim, asyncio.Event(), asyncio.Event()

    async def slow(*arguments):
        asked.set()
        claims = await claim(*arguments)
        await answer.wait()
        return claims

    draining.store.claim = slow
    claiming = asyncio.create_task(draining.intake.claim_for_ever())
    await asked.wait()
    drain = asyncio.create_task(draining.intake.drain(5))
    await asyncio.sleep(0)
    answer.set()
    await drain
    await claiming

    assert not draining.publisher.journals
    assert await heir.claim() == 1
    assert heir.publisher.journals[response_id].claim.attempts == 1


async def test_an_ending_told_before_the_drain_is_written_and_not_handed_over():
    rig = Rig()
    response_id = await rig.submitted(keep=-1)
    draining, heir = await rig.worker("draining"), await rig.worker("heir")
    await draining.claim()
    draining.engine.say(response_id, "all", 1)
    draining.engine.end(response_id)
    task = asyncio.create_task(draining.publisher.run())

    await draining.intake.drain(5)
    task.cancel()

    assert (await rig.followed(response_id)).status is Status.COMPLETED
    assert await heir.claim() == 0


async def test_a_drain_without_a_store_ends_in_its_time_and_says_what_is_left(monkeypatch):
    rig = Rig()
    await rig.submitted(keep=-1)
    worker = await rig.worker()
    await worker.claim()

    async def away(*_):
        raise StoreUnavailable("gone")

    for verb in ("release", "retire", "why", "append"):
        monkeypatch.setattr(worker.store, verb, away)
    async with asyncio.timeout(20):
        assert await worker.intake.drain(0.4) == 1

    assert '"event":"drain_cut_short"' in rig.lines.getvalue().replace(" ", "")


@pytest.mark.parametrize("ended_by", ["cancel", "detach"])
async def test_an_ending_by_somebody_else_is_seen_in_prefill_within_a_second_and_without_a_step(ended_by):
    rig = Rig()
    response_id = await rig.submitted(keep=0)
    worker = await rig.worker()
    await worker.claim()
    tasks = [
        asyncio.create_task(worker.publisher.run()),
        asyncio.create_task(worker.intake.name_for_ever()),
    ]
    if ended_by == "cancel":
        await rig.gateway.cancel(response_id, "alice")
    else:
        await rig.gateway.detach(response_id, "tab")
    for _ in range(50):  # a second as this loop has it: where the machine is held up both stand still
        if worker.engine.cancelled:
            break
        await asyncio.sleep(0.02)
    for task in tasks:
        task.cancel()

    assert worker.engine.cancelled == [response_id]
    assert worker.engine.steps == 0
    assert worker.intake.room == 4
    assert worker.metrics.after_stop._sum.get() == 0
