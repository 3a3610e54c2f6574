from __future__ import annotations

import asyncio

import pytest
from scripted_engine import Rig

from shared.log import Reason, Status
from shared.store.contract import AppendReply, StoreUnavailable
from shared.store.memory import lose_tail
from worker.engines.contract import Ended, Piece


async def test_one_step_becomes_one_round_and_one_entry_per_sequence():
    rig = Rig()
    ids = [await rig.submitted(), await rig.submitted()]
    worker = await rig.worker()
    await worker.claim()

    worker.engine.step([Piece(ids[0], "a", (1,)), Piece(ids[1], "b", (2,))])
    await worker.publish(1)

    assert [await rig.text(i) for i in ids] == ["a", "b"]


async def test_the_ending_comes_after_the_last_text_and_frees_the_room():
    rig = Rig()
    response_id = await rig.submitted()
    worker = await rig.worker(slots=1)
    await worker.claim()
    assert worker.intake.room == 0

    worker.engine.step([Piece(response_id, "all", (1, 2), 5), Ended(response_id, Reason.STOP)])
    await worker.publish()

    followed = await rig.followed(response_id)
    assert followed.status is Status.COMPLETED
    assert [entry.kind.value for entry in followed.entries] == ["q", "s", "d", "e"]
    assert followed.entries[2].prompt_tokens == 5
    assert worker.intake.room == 1
    assert worker.publisher.changed.is_set()


async def test_a_cancelled_response_is_dropped_and_its_engine_told():
    rig = Rig()
    response_id = await rig.submitted()
    worker = await rig.worker()
    await worker.claim()
    await rig.gateway.cancel(response_id, "alice")

    worker.engine.say(response_id, "late", 1)
    await worker.publish()

    assert worker.engine.cancelled == [response_id]
    assert not worker.publisher.journals
    assert await rig.text(response_id) == ""


async def test_what_was_made_after_a_stop_and_what_it_saved_is_counted():
    rig = Rig()
    response_id = await rig.submitted()
    worker = await rig.worker()
    await worker.claim()
    worker.engine.say(response_id, "one ", 1)
    await worker.publish()
    await rig.gateway.cancel(response_id, "alice")

    worker.engine.say(response_id, "late", 2, 3)
    await worker.publish()

    assert worker.metrics.after_stop._sum.get() == 2
    assert worker.metrics.wasted._value.get() == 2
    assert worker.metrics.saved._value.get() == 16 - 3


@pytest.mark.parametrize("verb", ["why", "renew"])
async def test_what_is_told_of_a_lost_claim_leaves_a_newer_one_alone(
    verb: str, monkeypatch: pytest.MonkeyPatch
):
    rig = Rig()
    response_id = await rig.submitted(keep=-1)
    worker = await rig.worker()
    await worker.claim()
    worker.engine.say(response_id, "one ", 1)
    await worker.publish()
    ask, asked, reclaimed = getattr(worker.store, verb), asyncio.Event(), asyncio.Event()

    async def slow(claims, *link):
        asked.set()
        await reclaimed.wait()
        return await ask(claims, *link)

    monkeypatch.setattr(worker.store, verb, slow)
    worker.publisher.ask_again(worker.publisher.journals.values())
    asking = asyncio.create_task(worker.publisher._round() if verb == "why" else worker.intake._extend())
    await asked.wait()
    rig.time += rig.leases.lease + 1  # the engine hung, and this very worker takes its response again
    assert await worker.claim() == 1
    reclaimed.set()
    await asking
    monkeypatch.undo()
    worker.engine.say(response_id, "two", 2)
    await worker.publish()

    assert worker.engine.cancelled == []
    assert await rig.text(response_id) == "one two"


async def test_a_refusal_of_one_leaves_its_neighbours_text_alone():
    rig = Rig()
    stopped, healthy = await rig.submitted(), await rig.submitted()
    worker = await rig.worker()
    await worker.claim()
    await rig.gateway.cancel(stopped, "alice")

    worker.engine.step([Piece(stopped, "x", (1,)), Piece(healthy, "one ", (1,))])
    await worker.publish()
    worker.engine.say(healthy, "two", 2)
    await worker.publish()

    assert await rig.text(healthy) == "one two"


async def test_a_lost_reply_neither_loses_nor_doubles_text(monkeypatch: pytest.MonkeyPatch):
    rig = Rig()
    response_id = await rig.submitted()
    worker = await rig.worker()
    await worker.claim()
    worker.engine.say(response_id, "once", 1)
    append = worker.store.append

    async def applied_but_lost(batch, link=None):
        await append(batch, link)
        monkeypatch.undo()
        raise StoreUnavailable("lost")

    monkeypatch.setattr(worker.store, "append", applied_but_lost)
    with pytest.raises(StoreUnavailable):
        await worker.publisher._round()
    worker.engine.say(response_id, " more", 2)
    await worker.publish()

    assert await rig.text(response_id) == "once more"


async def test_a_tail_that_the_server_lost_is_written_again():
    rig = Rig()
    response_id = await rig.submitted()
    worker = await rig.worker()
    await worker.claim()
    for word in ("one ", "two ", "three "):
        worker.engine.say(response_id, word, 1)
        await worker.publish()
    lose_tail(rig.server, response_id, 2)

    worker.publisher.ask_again(worker.publisher.journals.values())
    await worker.publish()
    worker.engine.say(response_id, "four", 1)
    await worker.publish()

    assert await rig.text(response_id) == "one two three four"
    assert worker.metrics.repairs._value.get() == 2


async def test_a_log_that_outgrows_its_bound_ends_incomplete():
    rig = Rig()
    response_id = await rig.submitted()
    worker = await rig.worker()
    await worker.claim()

    worker.engine.say(response_id, "x" * 101, 1)
    await worker.publish()

    followed = await rig.followed(response_id)
    assert (followed.status, followed.entries[-1].reason) == (Status.INCOMPLETE, Reason.LOG)
    assert worker.engine.cancelled == [response_id]


async def test_a_full_server_fails_the_response_openly(monkeypatch: pytest.MonkeyPatch):
    rig = Rig()
    response_id = await rig.submitted()
    worker = await rig.worker()
    await worker.claim()

    async def full(batch, _link=None):
        return [AppendReply.STORAGE_FULL] * len(batch)

    monkeypatch.setattr(worker.store, "append", full)
    worker.engine.say(response_id, "x", 1)
    await worker.publish()

    followed = await rig.followed(response_id)
    assert followed.status is Status.FAILED
    assert followed.entries[-1].message.startswith("storage_full")


async def test_the_task_goes_on_after_the_store_was_away(monkeypatch: pytest.MonkeyPatch):
    rig = Rig()
    response_id = await rig.submitted()
    worker = await rig.worker()
    await worker.claim()
    finish = worker.store.finish
    away = iter([True, True, False])

    async def sometimes(*arguments):
        if next(away, False):
            raise StoreUnavailable("away")
        return await finish(*arguments)

    monkeypatch.setattr(worker.store, "finish", sometimes)
    monkeypatch.setattr("worker.publisher._RETRY_SECONDS", 0)
    task = asyncio.create_task(worker.publisher.run())
    worker.engine.step([Piece(response_id, "text", (1,)), Ended(response_id, Reason.STOP)])
    await asyncio.wait_for(worker.publisher.changed.wait(), 40)
    task.cancel()

    assert (await rig.followed(response_id)).status is Status.COMPLETED
    assert await rig.text(response_id) == "text"
    assert rig.lines.getvalue().count("store_unavailable") == 1
