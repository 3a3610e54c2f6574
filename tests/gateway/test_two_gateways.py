"""Stop and resume with two gateways over one real server: which of them is asked makes no difference."""

import asyncio
import json
from dataclasses import replace

import pytest
from gateway_bench import assert_contiguous, assert_goes_on, text_of, until
from gateway_fleet import on_server

from shared.log import Status, new_response_id
from shared.request import Message, Request, Sampling
from shared.store.contract import Followed
from shared.store.keys import of_response
from shared.store.link import Link

NOBODY = "resp_000" + "0" * 32


@pytest.fixture
async def pair(valkey):
    async with on_server(valkey, gateways=2) as benches:
        yield benches


async def status_of(bench, response_id):
    log = await bench.store.follow(response_id, "dev", None, -1, None)
    assert isinstance(log, Followed)
    return log.status


async def streamed(http, path, **headers):
    async with http.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200
        return [json.loads(line[5:]) async for line in answer.aiter_lines() if line.startswith("data:")]


# ---- Stop ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["same socket", "another socket", "another gateway", "http", "other http"])
@pytest.mark.parametrize("when", ["queued", "prefill", "decode"])
async def test_a_stop_from_anywhere_at_any_time_is_one_exact_ending(pair, where, when):
    first, second = pair
    async with first.client() as client, first.client() as neighbour, second.client() as stranger:
        await client.create()
        (created,) = await client.until("response.created")
        response_id = created["response"]["id"]
        events, claim = [created], None
        if when != "queued":
            claim = await first.hand.claim()
            events += await client.until("response.content_part.added")
        if when == "decode":
            await first.hand.say(claim, "a")
            events += await client.until("response.output_text.delta")
        stopper = {"same socket": client, "another socket": neighbour, "another gateway": stranger}.get(where)
        if stopper is not None:
            await stopper.send(type="response.cancel", response_id=response_id)
        else:
            async with (first if where == "http" else second).http() as http:
                answer = await http.post(f"/v1/responses/{response_id}/cancel")
                assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        events += await client.until("response.incomplete")
        assert_contiguous(events)
        assert events[-1]["sequence_number"] == {"queued": 1, "prefill": 7, "decode": 8}[when]
        final = events[-1]["response"]
        assert (final["status"], final["incomplete_details"]) == ("cancelled", None)
        assert final["usage"]["output_tokens"] == (1 if when == "decode" else 0)
        assert first.metric("stop_delay_seconds_count") == (1 if where == "same socket" else 0)
    if when == "queued":
        assert await first.hand.store.claim(4, lambda: True) == []
    else:
        await first.hand.say(claim, "zombie")
        assert [each.standing.value for each in await first.hand.store.why([claim])] == ["ended"]


async def test_a_stop_repeated_or_too_late_or_of_nothing_is_one_exact_error_each(pair):
    first, second = pair
    async with first.client() as client, second.client() as stranger:
        await client.create()
        claim = await first.hand.claim()
        await client.until("response.content_part.added")
        for _ in range(3):
            await client.send(type="response.cancel", event_id="again")
        events = await client.until("response.incomplete")
        assert "error" not in [each["type"] for each in events]
        # Those that came after the ending are answered; those before it were one Stop.
        await client.send(type="response.cancel", event_id="late")
        while (error := await client.event())["event_id"] != "late":
            assert error["error"]["code"] == "response_not_active"
        assert (error["status"], error["error"]["code"]) == (409, "response_not_active")
        await stranger.send(type="response.cancel", response_id=claim.response_id, event_id="x")
        error = await stranger.event()
        assert (error["status"], error["error"]["code"], error["event_id"]) == (
            409,
            "response_not_active",
            "x",
        )
        await stranger.send(type="response.cancel", response_id=NOBODY)
        assert (await stranger.event())["error"]["code"] == "response_not_found"
        assert await status_of(first, claim.response_id) is Status.CANCELLED
    async with second.http() as http:
        again = await http.post(f"/v1/responses/{claim.response_id}/cancel")
        assert (again.status_code, again.json()["status"]) == (200, "cancelled")
        assert (await http.post(f"/v1/responses/{NOBODY}/cancel")).status_code == 404


async def test_all_who_watch_a_response_that_is_deleted_see_one_ending_at_every_door(pair):
    first, second = pair
    async with first.client() as asker, second.client() as watcher, second.http() as http:
        await asker.create()
        claim = await first.hand.claim()
        await first.hand.say(claim, "a")
        path = f"/v1/responses/{claim.response_id}"
        await watcher.send(type="response.resume", response_id=claim.response_id)
        await asyncio.gather(*(each.until("response.output_text.delta") for each in (asker, watcher)))
        reading = asyncio.create_task(streamed(http, f"{path}?stream=true"))
        await until(lambda: second.metric("attachments") == 2)

        async with first.http() as other:
            assert (await other.delete(path)).json()["deleted"] is True
            assert (await other.get(path)).status_code == 404

        seen = [(await each.until("response.incomplete"))[-1] for each in (asker, watcher)]
        seen.append((await reading)[-1])
        assert seen[0] == seen[1] == seen[2]
        assert (seen[0]["response"]["status"], seen[0]["response"]["usage"]["output_tokens"]) == (
            "cancelled",
            1,
        )
        await watcher.send(type="response.resume", response_id=claim.response_id)
        assert (await watcher.event())["error"]["code"] == "response_not_found"


async def test_a_stop_of_a_finished_response_changes_nothing(pair):
    first, second = pair
    async with first.client() as client, second.client() as stranger, second.http() as http:
        await client.create()
        claim = await first.hand.answer("a")
        await client.until("response.completed")
        await stranger.send(type="response.cancel", response_id=claim.response_id)
        assert (await stranger.event())["error"]["code"] == "response_not_active"
        answer = await http.post(f"/v1/responses/{claim.response_id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "completed")
        assert first.metric("stop_delay_seconds_count") == 0


async def test_a_stop_by_one_who_only_watches_is_measured_where_it_was_pressed(pair):
    first, second = pair
    async with first.client() as client, second.client() as watcher:
        await client.create()
        claim = await first.hand.claim()
        await watcher.send(type="response.resume", response_id=claim.response_id)
        await watcher.until("response.content_part.added")
        await watcher.send(type="response.cancel", response_id=claim.response_id)
        ends = [(await each.until("response.incomplete"))[-1] for each in (client, watcher)]
        assert ends[0] == ends[1]
        await until(lambda: second.metric("stop_delay_seconds_count") == 1)
        assert first.metric("stop_delay_seconds_count") == 0


@pytest.mark.parametrize(("keep", "goes_on"), [(0, False), (-1, True), (None, True)])
@pytest.mark.parametrize("door", ["socket", "http"])
async def test_what_becomes_of_a_response_that_everybody_left_is_asked_with_it(pair, door, keep, goes_on):
    first, second = pair
    fields = {} if keep is None else {"keep": keep}
    if door == "http" and keep is None:
        goes_on = False  # clients of that API take a broken connection as a stop
    if door == "socket":
        async with first.client() as client:
            await client.create(**fields)
            claim = await first.hand.claim()
    else:
        async with first.http() as http:
            body = {"input": "x", "stream": True, **fields}
            async with http.stream("POST", "/v1/responses", json=body) as answer:
                lines = answer.aiter_lines()
                await anext(lines)
                claim = await first.hand.claim()
    await everybody_left(first)
    if goes_on:
        await first.hand.say(claim, "a")
        await first.hand.finish(claim)
    expected = Status.COMPLETED if goes_on else Status.CANCELLED
    assert await status_of(second, claim.response_id) is expected


async def everybody_left(bench):
    """Wait until the store was told of it: of the hub's tasks only its timer is left."""
    await until(lambda: not list(bench.gateway.hub.attachments) and len(bench.gateway.hub._tasks) == 1)


async def test_one_viewer_of_two_that_leaves_is_no_leave(pair):
    first, second = pair
    async with second.client() as watcher:
        async with first.client() as client:
            await client.create(keep=0)
            claim = await first.hand.claim()
            await watcher.send(type="response.resume", response_id=claim.response_id)
            await watcher.until("response.content_part.added")
        await everybody_left(first)
        await first.hand.say(claim, "a")
        await first.hand.finish(claim)
        assert text_of(await watcher.until("response.completed")) == "a"


# ---- Resume --------------------------------------------------------------------------------------

TEXTS = ["one ", "two ", "thr", "ee "]


async def begun(bench, client):
    await client.create()
    claim = await bench.hand.claim()
    await client.until("response.content_part.added")
    await bench.hand.say(claim, *TEXTS)
    return claim


async def test_a_finished_answer_is_resumed_at_every_number_in_every_way_from_either_gateway(pair):
    first = pair[0]
    async with first.client() as client:
        claim = await begun(first, client)
        await first.hand.finish(claim)
        await client.until("response.completed")
        await client.send(type="response.resume", response_id=claim.response_id)
        whole = await client.until("response.completed")
    last = whole[-1]["sequence_number"]
    path = f"/v1/responses/{claim.response_id}?stream=true"
    for bench in pair:
        async with bench.client() as client, bench.http() as http:
            for after in range(-1, last):
                await client.send(type="response.resume", response_id=claim.response_id, starting_after=after)
                assert_goes_on(await client.until("response.completed"), after, whole, TEXTS)
                query = f"?response_id={claim.response_id}&starting_after={after}"
                async with bench.client(query) as another:
                    assert_goes_on(await another.until("response.completed"), after, whole, TEXTS)
                assert_goes_on(await streamed(http, f"{path}&starting_after={after}"), after, whole, TEXTS)
                named = await streamed(http, path, **{"Last-Event-ID": str(after)})
                assert_goes_on(named, after, whole, TEXTS)
            assert await streamed(http, f"{path}&starting_after={last}") == []


async def test_a_running_answer_is_resumed_at_every_number_in_every_way_from_either_gateway(pair):
    first, second = pair
    async with first.client() as client, first.http() as http, second.http() as other:
        claim = await begun(first, client)
        followers = []
        for after in range(-1, 4 + len(TEXTS)):
            for bench, sse in ((first, http), (second, other)):
                path = f"/v1/responses/{claim.response_id}?stream=true"
                ways = (
                    followed(bench, f"?response_id={claim.response_id}&starting_after={after}"),
                    followed(bench, "", response_id=claim.response_id, starting_after=after),
                    streamed(sse, f"{path}&starting_after={after}"),
                    streamed(sse, path, **{"Last-Event-ID": str(after)}),
                )
                followers += [(after, asyncio.create_task(way)) for way in ways]
        await until(lambda: [b.metric("resumes_total", outcome="resumed") for b in pair] == [36.0] * 2)
        await first.hand.say(claim, "live")
        await first.hand.finish(claim)
        await client.until("response.completed")
        await client.send(type="response.resume", response_id=claim.response_id)
        whole = await client.until("response.completed")
        for after, follower in followers:
            assert_goes_on(await follower, after, whole, [*TEXTS, "live"])


async def followed(bench, query, **resume):
    async with bench.client(query) as client:
        if resume:
            await client.send(type="response.resume", **resume)
        return await client.until("response.completed")


async def test_several_viewers_see_the_same_and_a_late_one_gets_the_joined_text_first(pair):
    first, second = pair
    async with first.client() as client, second.client() as early, second.client() as late:
        await client.create()
        claim = await first.hand.claim()
        await client.until("response.content_part.added")
        await early.send(type="response.resume", response_id=claim.response_id)
        await early.until("response.content_part.added")
        await first.hand.say(claim, *TEXTS)
        await late.send(type="response.resume", response_id=claim.response_id, starting_after=3)
        caught_up = await late.event()
        assert (caught_up["first_sequence_number"], caught_up["sequence_number"]) == (4, 7)
        assert caught_up["delta"] == "".join(TEXTS)
        await first.hand.say(claim, "x", "y")
        await first.hand.finish(claim)
        tails = [await each.until("response.completed") for each in (client, early, late)]
        assert tails[0] == tails[1]
        assert [each["delta"] for each in tails[2][:2]] == ["x", "y"]
        assert tails[2][2:] == tails[0][-4:]


async def test_a_number_beyond_the_log_is_out_of_range_once_the_log_has_ended(pair):
    first, second = pair
    async with first.client() as client, second.client() as other, second.http() as http:
        claim = await begun(first, client)
        await other.send(
            type="response.resume", response_id=claim.response_id, starting_after=50, event_id="e"
        )
        await first.hand.finish(claim)
        error = await other.event()
        assert (error["status"], error["error"]["code"], error["event_id"]) == (
            400,
            "starting_after_out_of_range",
            "e",
        )
        answer = await http.get(f"/v1/responses/{claim.response_id}?stream=true&starting_after=50")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "starting_after_out_of_range")


@pytest.mark.parametrize("running", [True, False])
async def test_a_log_that_is_gone_cannot_be_resumed_and_starts_nothing_anew(pair, valkey, running):
    first, second = pair
    async with first.client() as client:
        claim = await begun(first, client)
        if not running:
            await first.hand.finish(claim)
            await client.until("response.completed")
        looker = Link.to(valkey)
        await looker.command("DEL", of_response(claim.response_id).log)
        await looker.close()
    async with second.client() as client, second.http() as http:
        await client.send(type="response.resume", response_id=claim.response_id, starting_after=5)
        error = await client.event()
        assert (error["status"], error["error"]["code"]) == (410, "resume_unavailable")
        answer = await http.get(f"/v1/responses/{claim.response_id}?stream=true&starting_after=5")
        assert (answer.status_code, answer.json()["error"]["code"]) == (410, "resume_unavailable")
        await client.create()  # the socket stays, and a worker gets this one alone
        assert (await first.hand.claim()).response_id != claim.response_id
        assert await first.hand.store.claim(4, lambda: True) == []


async def test_a_foreign_response_looks_like_one_that_does_not_exist(pair):
    first, _ = pair
    sampling = Sampling(max_tokens=4, seed=1)
    foreign = Request(new_response_id(0), "tiny", "somebody else", (Message("user", "x"),), sampling)
    await first.store.submit(foreign, None, 64)
    async with first.client() as client, first.http() as http:
        for kind in ("response.resume", "response.cancel"):
            told = []
            for response_id in (foreign.response_id, NOBODY):
                await client.send(type=kind, response_id=response_id)
                told.append(await client.event())
            assert told[0] == told[1]
            assert told[0]["error"]["code"] == "response_not_found"
        for method, path in (("GET", ""), ("GET", "?stream=true"), ("POST", "/cancel")):
            answers = [
                await http.request(method, f"/v1/responses/{response_id}{path}")
                for response_id in (foreign.response_id, NOBODY)
            ]
            assert [each.status_code for each in answers] == [404, 404]
            assert answers[0].json() == answers[1].json()
    log = await first.store.follow(foreign.response_id, "somebody else", None, -1, None)
    assert replace(log, entries=()).status is Status.QUEUED


async def test_a_duplicate_create_at_two_gateways_is_one_generation_seen_by_both(pair):
    first, second = pair
    async with first.client() as client, second.client() as other:
        await client.create(idempotency_key="once")
        await other.create(idempotency_key="once")
        claim = await first.hand.claim()
        assert await first.hand.store.claim(4, lambda: True) == []
        await first.hand.say(claim, *TEXTS)
        await first.hand.finish(claim)
        runs = [await each.until("response.completed") for each in (client, other)]
        for events in runs:
            assert_contiguous(events)
            assert text_of(events) == "".join(TEXTS)
        assert runs[0][-1] == runs[1][-1]
