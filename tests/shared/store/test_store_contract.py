"""What every store must do, on the twin in memory and on real servers."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from store_bench import HELD, Bench, eventually

from shared.log import SCORED, Kind, LiveMessage, Reason, Status, escape, new_response_id
from shared.logprobs import unpacked
from shared.store.contract import (
    Append,
    AppendReply,
    Cancelled,
    Claim,
    FinishReply,
    Followed,
    GatewayInfo,
    Overloaded,
    Refused,
    Remembered,
    Standing,
    Submitted,
    Tail,
    Watch,
    WorkerInfo,
    WorkerStore,
)

held = pytest.mark.parametrize("leases", [HELD], indirect=True, ids=["held"])
"""What is held in the test stays so, also on a machine that is held up between two of its steps."""


def delta(claim: Claim, upto: int, text: str = "x", ids: tuple[int, ...] = (1,), prompt: int = 0) -> Append:
    return Append(claim.response_id, claim.epoch, upto, escape(text), ids, prompt)


async def everything(bench: Bench, response_id: str, principal: str = "alice") -> Followed:
    followed = await bench.gateway.follow(response_id, principal, None, -1, None)
    assert isinstance(followed, Followed), followed
    return followed


async def kinds(bench: Bench, response_id: str) -> list[tuple[str, int]]:
    return [(entry.kind.value, entry.upto) for entry in (await everything(bench, response_id)).entries]


# ---- submit --------------------------------------------------------------------------------------


async def test_a_submitted_request_stands_in_the_log_as_one_event(bench: Bench):
    request = await bench.submitted()

    followed = await everything(bench, request.response_id)

    assert followed.request == request
    assert (followed.status, followed.last, followed.place) == (Status.QUEUED, 1, 0)
    assert [(e.kind, e.first, e.upto) for e in followed.entries] == [(Kind.QUEUED, 0, 1)]


async def test_a_submit_that_is_repeated_after_a_lost_reply_does_nothing_more(bench: Bench):
    request = await bench.submitted()

    again = await bench.gateway.submit(request, "tab", 64)

    assert again.duplicate
    assert again.response_id == request.response_id
    assert await bench.gateway.waiting("model") == 1


async def test_one_idempotency_key_of_one_principal_makes_one_response(bench: Bench):
    first_id, second_id = (
        new_response_id(bench.gateway.partition_for("alice", "key", draw)) for draw in (1, 2)
    )
    first = await bench.submitted(response_id=first_id, idempotency_key="key")

    second = await bench.gateway.submit(
        bench.request(response_id=second_id, idempotency_key="key"), "tab", 64
    )
    other = await bench.gateway.submit(
        bench.request(
            response_id=new_response_id(bench.gateway.partition_for("bob", "key", 1)),
            principal="bob",
            idempotency_key="key",
        ),
        "tab",
        64,
    )

    assert (second.duplicate, second.response_id) == (True, first.response_id)
    assert not other.duplicate


async def test_the_bound_refuses_at_the_door_and_writes_nothing(bench: Bench):
    bound = 2 * bench.partitions
    for _ in range(bound):
        assert (await bench.gateway.submit(bench.request(), None, bound)).duplicate is False

    refused = bench.request()
    reply = await bench.gateway.submit(refused, None, bound)

    assert isinstance(reply, Overloaded)
    assert reply.median_run_seconds is None
    assert await bench.gateway.follow(refused.response_id, "alice", None, -1, None) is Refused.UNKNOWN
    assert await bench.gateway.waiting("model") == bound


async def test_what_a_full_partition_refuses_finds_room_in_another_one(bench: Bench):
    bound, taken = bench.partitions, set()
    while (room := await bench.gateway.partition_with_room("model", bound, 7)) is not None:
        request = bench.request(response_id=new_response_id(room))
        assert isinstance(await bench.gateway.submit(request, None, bound), Submitted)
        taken.add(room)

    # Where there is one partition it is the one that has refused.
    assert taken == (set() if bench.partitions == 1 else set(range(bench.partitions)))


async def test_an_overload_tells_the_median_run_time_once_runs_were_measured(bench: Bench):
    worker = await bench.worker()
    for _ in range(bench.partitions):
        await bench.submitted()
        claim = await bench.claimed(worker)
        await worker.finish(claim, claim.upto, Reason.STOP)
    for _ in range(bench.partitions):
        await bench.submitted()

    reply = await bench.gateway.submit(bench.request(), None, 1)

    assert isinstance(reply, Overloaded)
    assert reply.median_run_seconds is not None
    assert 0 <= reply.median_run_seconds < 30


async def test_the_place_counts_who_waits_before(bench: Bench):
    places = []
    for _ in range(3):
        request = bench.request(response_id=new_response_id(0))
        places.append((await bench.gateway.submit(request, None, 64)).place)

    assert places == [0, 1, 2]


async def test_who_waits_learns_its_place_and_the_median_run_time_until_it_is_claimed(bench: Bench):
    worker = await bench.worker()
    requests = [bench.request(response_id=new_response_id(0)) for _ in range(3)]
    for request in requests:
        await bench.gateway.submit(request, None, 64)

    async def standing() -> list[tuple[int | None, bool]]:
        replies = [await bench.gateway.follow(one.response_id, "alice", None, -1, None) for one in requests]
        assert all(isinstance(reply, Followed) for reply in replies)
        return sorted((-1 if r.place is None else r.place, r.median_run_seconds is not None) for r in replies)

    assert await standing() == [(0, False), (1, False), (2, False)]
    first = await bench.claimed(worker)
    assert await standing() == [(-1, False), (0, False), (1, False)]
    await worker.finish(first, first.upto, Reason.STOP)
    assert await standing() == [(-1, False), (0, True), (1, True)]


# ---- claim ---------------------------------------------------------------------------------------


async def test_a_first_claim_writes_the_prologue_under_a_new_epoch(bench: Bench):
    request = await bench.submitted()
    worker = await bench.worker()

    claim = await bench.claimed(worker)

    assert claim.request == request
    assert (claim.upto, claim.attempts) == (4, 1)
    assert await kinds(bench, request.response_id) == [("q", 1), ("s", 4)]
    assert (await everything(bench, request.response_id)).entries[1].epoch == claim.epoch
    assert await bench.gateway.waiting("model") == 0
    assert not await worker.claim(4, lambda: True)


async def test_a_claim_takes_no_more_than_there_is_room_for(bench: Bench):
    for _ in range(5):
        await bench.submitted()
    worker = await bench.worker()

    taken = [len(await worker.claim(2, lambda: True)) for _ in range(4)]

    assert taken == [2, 2, 1, 0]


async def test_what_was_stopped_in_the_queue_keeps_nobody_behind_it_waiting(bench: Bench):
    stopped = [await bench.submitted() for _ in range(12)]
    for request in stopped:
        await bench.gateway.cancel(request.response_id, "alice")
    request = await bench.submitted()
    worker = await bench.worker()

    claims = await worker.claim(1, lambda: True)

    assert [claim.response_id for claim in claims] == [request.response_id]


async def test_a_lease_that_runs_out_lets_another_worker_continue_from_the_log(bench: Bench):
    request = await bench.submitted()
    dead, heir = await bench.worker("dead"), await bench.worker("heir")
    lost = await bench.claimed(dead)
    await dead.append([delta(lost, 5, "one ", (11, 12), 3), delta(lost, 6, "two", (13,))])

    claim = await bench.claimed(heir, solo=False)

    assert claim.upto == 6
    assert claim.reclaimed
    assert not lost.reclaimed
    assert claim.epoch > lost.epoch
    assert [i for entry in claim.entries for i in entry.ids] == [11, 12, 13]
    assert await kinds(bench, request.response_id) == [("q", 1), ("s", 4), ("d", 5), ("d", 6), ("h", 6)]


async def test_a_zombie_cannot_add_one_token_even_before_its_heir_has_written(bench: Bench):
    request = await bench.submitted()
    zombie, heir = await bench.worker("zombie"), await bench.worker("heir")
    lost = await bench.claimed(zombie)
    await zombie.append([delta(lost, 5)])
    claim = await bench.claimed(heir)

    late = await zombie.append([delta(lost, 6, "late")])
    ours = await heir.append([delta(claim, 6, "ours")])

    assert late == [AppendReply.REFUSED]
    assert ours == [AppendReply.UNWATCHED]
    assert (await zombie.why([lost]))[0].standing is Standing.FENCED
    assert await zombie.renew([lost]) == [Standing.FENCED]
    assert await zombie.finish(lost, 5, Reason.STOP) is FinishReply.FENCED
    texts = [entry.text for entry in (await everything(bench, request.response_id)).entries]
    assert "late" not in texts


@held
async def test_a_renewed_lease_is_not_taken(bench: Bench):
    await bench.submitted(keep=-1)
    owner, other = await bench.worker("owner"), await bench.worker("other")
    claim = await bench.claimed(owner)

    for _ in range(8):
        assert await owner.renew([claim]) == [Standing.OURS]
        assert not await other.claim(1, lambda: True)
        await asyncio.sleep(HELD.lease / 6)  # together longer than the lease


async def test_a_released_response_is_taken_at_once_and_counts_no_attempt(bench: Bench):
    await bench.submitted()
    draining, heir = await bench.worker("draining"), await bench.worker("heir")
    first = await bench.claimed(draining)

    await draining.release(first)
    [claim] = await heir.claim(1, lambda: False)

    assert claim.attempts == 1
    assert not claim.reclaimed
    assert claim.epoch > first.epoch
    assert (await draining.why([first]))[0].standing is Standing.FENCED


async def test_handed_over_responses_go_before_waiting_ones(bench: Bench):
    first = await bench.submitted()
    draining, heir = await bench.worker("draining"), await bench.worker("heir")
    claim = await bench.claimed(draining)
    await bench.submitted()
    await draining.release(claim)

    taken = await heir.claim(1, lambda: False)

    assert [c.response_id for c in taken] == [first.response_id]


@held
async def test_new_ones_are_taken_while_below_their_share_and_hand_overs_fill_the_rest(bench: Bench):
    draining, heir = await bench.worker("draining"), await bench.worker("heir")
    for _ in range(6):
        await bench.submitted(keep=-1)
    assert len(await heir.claim(3, lambda: True, 1)) == 1
    assert await heir.claim(0, lambda: True, 0) == []

    claims = await draining.claim(2, lambda: True)
    for claim in claims:
        await draining.release(claim)
    handed = await heir.claim(2, lambda: True, 0)

    assert len(claims) == 2
    assert {claim.response_id for claim in handed} == {claim.response_id for claim in claims}


@held
async def test_what_lapsed_behind_many_that_others_hold_is_found_with_room_for_one(bench: Bench):
    owner, dead, heir = await bench.worker("owner"), await bench.worker("dead"), await bench.worker("heir")
    requests = [await bench.submitted(keep=-1) for _ in range(31)]
    held = []
    while len(held) < 30:
        held += await owner.claim(30 - len(held), lambda: True)
    [lost] = await eventually(lambda: dead.claim(1, lambda: True))
    await dead.append([delta(lost, 5)])

    async def found():
        assert set(await owner.renew(held)) == {Standing.OURS}
        return await heir.claim(1, lambda: False)

    [claim] = await eventually(found)

    assert claim.response_id == lost.response_id
    assert len(requests) == 31


async def test_a_response_that_died_without_progress_is_admitted_alone_and_at_most_three_times(bench: Bench):
    request = await bench.submitted(keep=-1)
    worker = await bench.worker()
    assert (await bench.claimed(worker)).attempts == 1

    second = await bench.claimed(worker)
    assert not await worker.claim(1, lambda: False)
    third = await bench.claimed(worker)

    async def ended():
        await worker.claim(1, lambda: True)
        return (await everything(bench, request.response_id)).status.terminal

    await eventually(ended)
    assert (second.attempts, third.attempts) == (2, 3)
    last = (await everything(bench, request.response_id)).entries[-1]
    assert (last.reason, last.covers) == (Reason.WORKER_LOST, 4)


async def test_progress_forgives_an_attempt(bench: Bench):
    await bench.submitted(keep=-1)
    worker = await bench.worker()
    for n in range(5):
        claim = await bench.claimed(worker, solo=False)
        assert claim.attempts == 1
        await worker.append([delta(claim, 5 + n)])


async def test_a_suspect_is_never_admitted_beside_others(bench: Bench):
    suspect = await bench.submitted(keep=-1)
    worker, other = await bench.worker("worker"), await bench.worker("other")
    await bench.claimed(other)

    async def not_alone():
        taken = await worker.claim(1, lambda: False)
        assert suspect.response_id not in [claim.response_id for claim in taken]

    for _ in range(20):
        await not_alone()
        await asyncio.sleep(0.01)  # together longer than the lease
    assert (await bench.claimed(worker)).attempts == 2


async def test_only_an_equal_build_takes_a_started_response_until_it_has_waited(bench: Bench):
    request = await bench.submitted(keep=-1)
    first, other = await bench.worker("first", "float32"), await bench.worker("other", "bfloat16")
    claim = await bench.claimed(first)
    await first.append([delta(claim, 5)])
    await first.release(claim)

    assert not await other.claim(1, lambda: True)
    await bench.claimed(other)

    handed = (await everything(bench, request.response_id)).entries[-1]
    assert handed.marked == "float32 -> bfloat16"


async def test_what_a_worker_may_not_take_hides_nothing_behind_it(bench: Bench):
    draining = [await bench.worker(name, build) for name, build in (("first", "a"), ("second", "b"))]
    heir = await bench.worker("heir", "b")
    for _ in draining:
        await bench.submitted(keep=-1)
    unfit, fit = [await bench.claimed(worker) for worker in draining]
    for worker, claim in zip(draining, (unfit, fit), strict=True):
        await worker.release(claim)

    handed = await heir.claim(1, lambda: True)

    assert [claim.response_id for claim in handed] == [fit.response_id]


async def test_an_equal_build_takes_what_an_unequal_one_has_put_back(bench: Bench):
    await bench.submitted(keep=-1)
    first, other, equal = [
        await bench.worker(name, build) for name, build in (("first", "a"), ("other", "b"), ("equal", "a"))
    ]
    claim = await bench.claimed(first)
    await first.append([delta(claim, 5)])
    await first.release(claim)
    await other.claim(1, lambda: True)

    [taken] = await equal.claim(1, lambda: True)

    assert taken.entries[-1].marked == ""


# ---- append, why, finish -------------------------------------------------------------------------


async def test_an_append_is_logged_with_its_text_ids_and_usage(bench: Bench):
    request = await bench.submitted()
    worker = await bench.worker()
    claim = await bench.claimed(worker)

    await worker.append([delta(claim, 5, 'a "quoted"\nline', (4, 5), prompt=17)])

    entry = (await everything(bench, request.response_id)).entries[-1]
    assert (entry.text, entry.ids, entry.prompt_tokens) == ('a \\"quoted\\"\\nline', (4, 5), 17)


async def test_one_bad_sequence_never_stops_the_batch(bench: Bench):
    await bench.submitted()
    await bench.submitted()
    worker = await bench.worker()
    one, two = [await bench.claimed(worker) for _ in range(2)]
    if bench.partitions > 1:
        two = one
    unknown = Append(new_response_id(int(one.response_id[5:8], 16)), 1, 5, "x", (1,))

    replies = await worker.append([delta(one, 5), unknown, delta(one, 5), delta(two, 6)])

    assert replies == [AppendReply.UNWATCHED, AppendReply.GONE, AppendReply.REFUSED, AppendReply.UNWATCHED]


@held
async def test_one_step_of_many_sequences_is_answered_in_its_order_wherever_they_lie(bench: Bench):
    worker = await bench.worker()
    count = 2 * bench.partitions + 1
    for _ in range(count):
        await bench.submitted()
    claims: list[Claim] = []

    async def all_claimed():  # together: one after the other takes longer than a lease of these tests
        claims.extend(await worker.claim(count - len(claims), lambda: False))
        return len(claims) == count

    await eventually(all_claimed)
    await bench.gateway.cancel(claims[1].response_id, "alice")

    replies = await worker.append([delta(claim, 5, f"t{n}") for n, claim in enumerate(claims)])
    whys = await worker.why(claims)
    standings = await worker.renew(claims)

    others = [n for n in range(len(claims)) if n != 1]
    assert replies[1] is AppendReply.REFUSED
    assert {replies[n] for n in others} == {AppendReply.UNWATCHED}
    assert whys[1].standing is Standing.ENDED
    assert {(whys[n].standing, whys[n].last) for n in others} == {(Standing.OURS, 5)}
    assert [standings[n] for n in (0, 1)] == [Standing.OURS, Standing.ENDED]
    for n in others:
        assert (await everything(bench, claims[n].response_id)).entries[-1].text == f"t{n}"


async def test_handed_over_responses_of_any_partition_go_before_all_waiting_ones(bench: Bench):
    draining, heir = await bench.worker("draining"), await bench.worker("heir")
    await bench.submitted()
    handed = await bench.claimed(draining)
    for _ in range(bench.partitions):
        await bench.submitted()
    await draining.release(handed)

    for _ in range(bench.partitions):
        [claim] = await heir.claim(1, lambda: False)
        assert claim.response_id == handed.response_id
        await heir.release(claim)


async def test_why_tells_where_the_log_ends(bench: Bench):
    await bench.submitted()
    worker = await bench.worker()
    claim = await bench.claimed(worker)
    await worker.append([delta(claim, 5)])

    [why] = await worker.why([claim])

    assert (why.standing, why.last) == (Standing.OURS, 5)


async def test_finish_writes_one_ending_and_may_be_repeated(bench: Bench):
    request = await bench.submitted()
    worker = await bench.worker()
    claim = await bench.claimed(worker)
    await worker.append([delta(claim, 5)])

    replies = [await worker.finish(claim, 5, Reason.LENGTH) for _ in range(2)]

    assert replies == [FinishReply.OK, FinishReply.OK]
    followed = await everything(bench, request.response_id)
    assert followed.status is Status.INCOMPLETE
    assert [e.reason for e in followed.entries if e.kind is Kind.ENDED] == [Reason.LENGTH]
    assert followed.last == 9


async def test_an_ending_carries_what_had_no_text_to_ride_with(bench: Bench):
    request = await bench.submitted()
    worker = await bench.worker()
    claim = await bench.claimed(worker)

    await worker.finish(claim, 4, Reason.STOP, tail=Tail((2,), prompt_tokens=9, cached_tokens=3))

    last = (await everything(bench, request.response_id)).entries[-1]
    assert (last.ids, last.prompt_tokens, last.cached_tokens) == ((2,), 9, 3)


async def test_finish_says_behind_when_the_log_ends_elsewhere(bench: Bench):
    await bench.submitted()
    worker = await bench.worker()
    claim = await bench.claimed(worker)
    await worker.append([delta(claim, 5)])

    assert await worker.finish(claim, 7, Reason.STOP) is FinishReply.BEHIND


# ---- cancel --------------------------------------------------------------------------------------


async def test_a_cancel_in_the_queue_ends_at_once_and_reaches_no_worker(bench: Bench):
    request = await bench.submitted()

    reply = await bench.gateway.cancel(request.response_id, "alice")

    assert reply == Cancelled(Status.CANCELLED, already=False)
    assert await kinds(bench, request.response_id) == [("q", 1), ("e", 2)]
    assert await bench.gateway.waiting("model") == 0
    worker = await bench.worker()
    assert not await worker.claim(4, lambda: True)


async def test_a_cancel_while_running_ends_at_once_and_fences_the_owner(bench: Bench):
    request = await bench.submitted()
    worker = await bench.worker()
    claim = await bench.claimed(worker)
    await worker.append([delta(claim, 5)])

    await bench.gateway.cancel(request.response_id, "alice")

    assert await worker.append([delta(claim, 6)]) == [AppendReply.REFUSED]
    assert (await worker.why([claim]))[0].standing is Standing.ENDED
    assert await worker.renew([claim]) == [Standing.ENDED]
    assert await worker.finish(claim, 5, Reason.STOP) is FinishReply.ENDED
    assert (await kinds(bench, request.response_id))[-1] == ("e", 9)


async def test_a_repeated_cancel_is_harmless_and_a_foreign_one_finds_nothing(bench: Bench):
    request = await bench.submitted()

    assert await bench.gateway.cancel(request.response_id, "mallory") is Refused.UNKNOWN
    await bench.gateway.cancel(request.response_id, "alice")

    again = await bench.gateway.cancel(request.response_id, "alice")
    assert again == Cancelled(Status.CANCELLED, already=True)


# ---- follow --------------------------------------------------------------------------------------


async def with_answer(bench: Bench, count: int = 3) -> tuple[WorkerStore, Claim]:
    await bench.submitted()
    worker = await bench.worker()
    claim = await bench.claimed(worker)
    await worker.append([delta(claim, 5 + n, f"t{n}") for n in range(count)])
    return worker, claim


@pytest.mark.parametrize("after", range(-1, 11))
async def test_follow_returns_exactly_what_comes_after_every_number(bench: Bench, after: int):
    worker, claim = await with_answer(bench)
    await worker.finish(claim, 7, Reason.STOP)
    whole = (await everything(bench, claim.response_id)).entries

    followed = await bench.gateway.follow(claim.response_id, "alice", None, after, claim.epoch)

    assert isinstance(followed, Followed)
    assert followed.entries == tuple(e for e in whole if e.upto > after + 1)


async def test_follow_beyond_the_end_is_refused_by_what_the_reader_knows(bench: Bench):
    worker, claim = await with_answer(bench)

    async def ask(after: int, epoch: int | None):
        return await bench.gateway.follow(claim.response_id, "alice", None, after, epoch)

    assert await ask(7, claim.epoch) is Refused.BEHIND
    assert await ask(7, claim.epoch - 1) is Refused.RESET
    await worker.finish(claim, 7, Reason.STOP)
    assert await ask(11, claim.epoch) is Refused.RESET
    assert await ask(11, None) is Refused.OUT_OF_RANGE


async def test_a_cursor_of_another_lineage_is_told_to_start_anew(bench: Bench):
    _, claim = await with_answer(bench)

    assert await bench.gateway.follow(claim.response_id, "alice", None, 5, claim.epoch - 1) is Refused.RESET
    assert isinstance(await bench.gateway.follow(claim.response_id, "alice", None, 5, None), Followed)


async def test_a_foreign_reader_finds_nothing(bench: Bench):
    request = await bench.submitted()

    assert await bench.gateway.follow(request.response_id, "mallory", None, -1, None) is Refused.UNKNOWN


async def test_attend_says_where_each_log_stands(bench: Bench):
    _, claim = await with_answer(bench)
    unknown = new_response_id(0)

    first, second = await bench.gateway.attend([Watch(claim.response_id, "tab"), Watch(unknown, "tab")])

    assert (first.status, first.last) == (Status.RUNNING, 7)
    assert second is None


# ---- live ----------------------------------------------------------------------------------------


async def test_what_is_logged_is_published_with_its_number(bench: Bench):
    heard: list[LiveMessage] = []
    ended = asyncio.Event()

    def on_live(_response_id: str, message: LiveMessage) -> None:
        heard.append(message)
        if message.kind == b"e":
            ended.set()

    live = await bench.make_live(on_live)
    request = await bench.submitted()
    await live.subscribe(request.response_id)
    worker = await bench.worker()
    claim = await bench.claimed(worker)
    assert await worker.append([delta(claim, 5, "Grüße ☃ \n")]) == [AppendReply.OK]
    await worker.finish(claim, 5, Reason.STOP)
    await asyncio.wait_for(ended.wait(), 40)

    assert [(m.kind, m.upto, m.covers, m.epoch) for m in heard] == [
        (b"s", 4, 3, claim.epoch),
        (b"d", 5, 1, claim.epoch),
        (b"e", 9, 4, claim.epoch),
    ]
    assert heard[1].text.decode() == escape("Grüße ☃ \n")
    live.unsubscribe(request.response_id)


async def test_a_delta_with_logprobs_is_logged_and_published_with_them(bench: Bench):
    heard: asyncio.Queue[LiveMessage] = asyncio.Queue()
    live = await bench.make_live(lambda _, message: heard.put_nowait(message))
    request = await bench.submitted()
    await live.subscribe(request.response_id)
    worker = await bench.worker()
    claim = await bench.claimed(worker)
    logprobs = '["Gr\u00fc\\n",-0.5,[["a b",-1.0]]]'
    with_usage = replace(delta(claim, 5, "Gr\u00fc\n", prompt=3), logprobs=logprobs)
    without = replace(delta(claim, 6, "\u00dfe"), logprobs=logprobs)
    assert await worker.append([with_usage, without, delta(claim, 7, "!")]) == [AppendReply.OK] * 3

    messages = [await asyncio.wait_for(heard.get(), 40) for _ in range(4)][1:]
    assert [(m.kind, m.upto, m.covers) for m in messages] == [(SCORED, 5, 0), (SCORED, 6, 0), (b"d", 7, 1)]
    assert unpacked(messages[0].text) == (b"Gr\xc3\xbc\\n", logprobs.encode())
    entries = [e for e in (await everything(bench, request.response_id)).entries if e.kind is Kind.DELTA]
    assert [e.logprobs for e in entries] == [logprobs, logprobs, ""]
    assert [e.prompt_tokens for e in entries] == [3, 0, 0]
    assert [e.piece for e in entries] == [m.text for m in messages]
    live.unsubscribe(request.response_id)


# ---- leaving, deadlines, sweep -------------------------------------------------------------------


@held
async def test_the_last_viewer_leaving_ends_a_response_that_nobody_keeps(bench: Bench):
    request = await bench.submitted(keep=0)
    worker = await bench.worker()
    await bench.claimed(worker)
    await bench.gateway.follow(request.response_id, "alice", "second", -1, None)

    await bench.gateway.detach(request.response_id, "tab")
    assert (await everything(bench, request.response_id)).status is Status.RUNNING
    await bench.gateway.detach(request.response_id, "second")

    followed = await everything(bench, request.response_id)
    assert (followed.status, followed.entries[-1].reason) == (Status.CANCELLED, Reason.LEFT)


@held
async def test_renew_tells_the_owner_that_the_last_viewer_has_left(bench: Bench):
    request = await bench.submitted(keep=0.05)
    worker = await bench.worker()
    claim = await bench.claimed(worker)
    await bench.gateway.detach(request.response_id, "tab")

    async def left():
        return await worker.renew([claim]) == [Standing.LEFT]

    await eventually(left)
    assert await worker.finish(claim, claim.upto, Reason.LEFT) is FinishReply.OK
    assert (await everything(bench, request.response_id)).status is Status.CANCELLED


@held
async def test_a_watched_response_is_kept(bench: Bench):
    worker = await bench.worker()
    request = await bench.submitted(keep=0.01)

    async def claimed():  # watched meanwhile: on a busy machine a claim takes longer than the viewer's lease
        await bench.gateway.attend([Watch(request.response_id, "tab")])
        return await worker.claim(1, lambda: True)

    [claim] = await eventually(claimed)
    for _ in range(8):
        await bench.gateway.attend([Watch(request.response_id, "tab")])
        assert await worker.renew([claim]) == [Standing.OURS]
        await asyncio.sleep(HELD.attachment / 6)  # together longer than the attachment


async def test_the_sweep_ends_what_waited_too_long(bench: Bench):
    request = await bench.submitted(queue_seconds=0.05)

    await eventually(lambda: bench.gateway.sweep("model"))

    followed = await everything(bench, request.response_id)
    assert (followed.status, followed.entries[-1].reason) == (Status.FAILED, Reason.QUEUE_TIMEOUT)


async def test_the_sweep_ends_what_ran_too_long_whoever_owns_it(bench: Bench):
    request = await bench.submitted(run_seconds=0.05)
    worker = await bench.worker()
    claim = await bench.claimed(worker)

    await eventually(lambda: bench.gateway.sweep("model"))

    followed = await everything(bench, request.response_id)
    assert (followed.status, followed.entries[-1].reason) == (Status.INCOMPLETE, Reason.TIME)
    assert await worker.append([delta(claim, 5)]) == [AppendReply.REFUSED]


async def test_a_deadline_is_kept_whatever_model_the_sweep_is_for(bench: Bench):
    request = await bench.submitted(queue_seconds=0.05)

    await eventually(lambda: bench.gateway.sweep("another"))

    assert (await everything(bench, request.response_id)).status is Status.FAILED


async def test_the_sweep_leaves_the_healthy_alone(bench: Bench):
    request = await bench.submitted()

    assert await bench.gateway.sweep("model") == 0
    assert (await everything(bench, request.response_id)).status is Status.QUEUED


# ---- being known, sleeping -----------------------------------------------------------------------


@held
async def test_an_announced_worker_is_known_until_its_lease_ends_or_it_retires(bench: Bench):
    worker = await bench.worker()
    info = WorkerInfo("worker-1", "model", "build", context_length=2048, slots=8)

    await worker.announce(info)
    [first] = await bench.gateway.workers()
    assert (first.info, first.alive) == (info, True)

    async def dead():
        return not (await bench.gateway.workers())[0].alive

    await eventually(dead)
    await worker.retire()
    assert not await bench.gateway.workers()


@held
async def test_an_announced_gateway_is_known_until_its_lease_ends_or_it_retires(bench: Bench):
    info = GatewayInfo("gateway-1", sockets=3, ended={"completed": 2}, first_token=(0, 1))

    await bench.gateway.announce(info)
    [first] = await bench.gateway.gateways()
    assert (first.info, first.alive) == (info, True)
    assert not await bench.gateway.workers()

    async def dead():
        return not (await bench.gateway.gateways())[0].alive

    await eventually(dead)
    await bench.gateway.retire()
    assert not await bench.gateway.gateways()


async def test_the_bell_wakes_an_idle_worker(bench: Bench):
    worker = await bench.worker()
    assert not await worker.claim(1, lambda: True)
    sleeping = asyncio.create_task(worker.bell(60))

    async def woken():
        await bench.submitted(keep=-1)
        return sleeping.done()

    await eventually(woken)
    assert await worker.claim(1, lambda: True)


# ---- conversations, and taking a response away -----------------------------------------------------


async def answered(bench: Bench, worker: WorkerStore, *texts: str, reason: Reason = Reason.STOP, **changes):
    """Serve one request with these texts."""
    request = await bench.submitted(**changes)
    claim = await bench.claimed(worker)
    for n, text in enumerate(texts, 1):
        await worker.append([delta(claim, claim.upto + n, text)])
    await worker.finish(claim, claim.upto + len(texts), reason)
    return request


async def test_a_stored_response_leaves_its_request_and_text_to_its_principal_alone(bench: Bench):
    request = await answered(bench, await bench.worker(), 'say "hi"', "\n", "é", stored=True)

    remembered = await bench.gateway.recall(request.response_id, "alice")

    assert remembered == Remembered(request, escape('say "hi"\né'))
    assert await bench.gateway.recall(request.response_id, "bob") is None


@pytest.mark.parametrize(
    ("stored", "reason", "left"),
    [
        (False, Reason.STOP, False),
        (True, Reason.LENGTH, True),
        (True, Reason.ERROR, False),
        (True, Reason.TIME, True),
    ],
)
async def test_what_is_not_stored_and_what_failed_leaves_nothing(bench: Bench, stored, reason, left):
    request = await answered(bench, await bench.worker(), "x", stored=stored, reason=reason)

    assert (await bench.gateway.recall(request.response_id, "alice") is not None) is left


async def test_a_response_that_somebody_ended_leaves_what_there_was(bench: Bench):
    worker = await bench.worker()
    request = await bench.submitted(stored=True)
    claim = await bench.claimed(worker)
    await worker.append([delta(claim, 5, "half")])
    assert await bench.gateway.recall(request.response_id, "alice") is None

    await bench.gateway.cancel(request.response_id, "alice")

    assert (await bench.gateway.recall(request.response_id, "alice")).text == "half"


async def test_a_deleted_response_is_gone_for_its_readers_its_owner_and_later_requests(bench: Bench):
    worker = await bench.worker()
    request = await answered(bench, worker, "x", stored=True)

    assert await bench.gateway.delete(request.response_id, "bob") is False
    assert await bench.gateway.delete(request.response_id, "alice") is True

    assert await bench.gateway.follow(request.response_id, "alice", None, -1, None) is Refused.UNKNOWN
    assert await bench.gateway.recall(request.response_id, "alice") is None
    assert await bench.gateway.delete(request.response_id, "alice") is False


async def test_a_response_deleted_while_it_runs_is_taken_from_its_worker(bench: Bench):
    worker = await bench.worker()
    request = await bench.submitted(watcher=None, stored=True, keep=-1)
    claim = await bench.claimed(worker)
    await worker.append([delta(claim, 5)])

    assert await bench.gateway.delete(request.response_id, "alice") is True

    assert await worker.append([delta(claim, 6)]) == [AppendReply.GONE]
    assert (await worker.why([claim]))[0].standing is Standing.GONE
    assert await worker.finish(claim, 5, Reason.STOP) is FinishReply.GONE
    assert await worker.claim(4, lambda: True) == []


@pytest.mark.parametrize("started", [False, True])
@held
async def test_who_watches_a_response_that_is_deleted_gets_its_ending_and_nobody_else_finds_it(
    bench: Bench, started
):
    worker = await bench.worker()
    first_id, second_id = (
        new_response_id(bench.gateway.partition_for("alice", "key", draw)) for draw in (1, 2)
    )
    request = await bench.submitted(response_id=first_id, stored=True, idempotency_key="key")
    claim = await bench.claimed(worker) if started else None
    if claim is not None:
        await worker.append([delta(claim, 5, "half")])
    response_id = request.response_id

    assert await bench.gateway.delete(response_id, "alice") is True

    ended = await bench.gateway.follow(response_id, "alice", "tab", -1, None)
    assert (ended.status, ended.entries[-1].kind) == (Status.CANCELLED, Kind.ENDED)
    assert "".join(entry.text for entry in ended.entries) == ("half" if started else "")
    assert await bench.gateway.follow(response_id, "bob", "tab", -1, None) is Refused.UNKNOWN
    for stranger in (None, "another tab"):
        assert await bench.gateway.follow(response_id, "alice", stranger, -1, None) is Refused.UNKNOWN
    assert await bench.gateway.cancel(response_id, "alice") is Refused.UNKNOWN
    assert await bench.gateway.recall(response_id, "alice") is None
    assert await bench.gateway.delete(response_id, "alice") is False
    if claim is not None:
        assert await worker.append([delta(claim, 6)]) == [AppendReply.REFUSED]
        assert (await worker.why([claim]))[0].standing is Standing.ENDED
        assert await worker.finish(claim, 5, Reason.STOP) is FinishReply.ENDED
    assert await worker.claim(4, lambda: True) == []
    again = await bench.gateway.submit(bench.request(response_id=second_id, idempotency_key="key"), "tab", 64)
    assert (again.response_id, again.duplicate) == (second_id, False)


async def test_a_response_deleted_while_it_waits_never_reaches_a_worker(bench: Bench):
    worker = await bench.worker()
    request = await bench.submitted()

    assert await bench.gateway.delete(request.response_id, "alice") is True

    assert await worker.claim(4, lambda: True) == []
    assert await bench.gateway.waiting("model") == 0
    again = await bench.submitted()
    assert (await bench.claimed(worker)).response_id == again.response_id
