import asyncio
import json

import pytest
from gateway_bench import assert_contiguous, assert_goes_on, in_memory, text_of, until

from gateway.door import MESSAGE_BYTES
from shared.log import Reason


async def test_a_create_is_answered_from_queue_to_ending(bench):
    async with bench.client() as client:
        await client.create()
        assert (await client.event())["response"]["status"] == "queued"
        claim = await bench.hand.claim()
        await client.until("response.content_part.added")
        await bench.hand.say(claim, "Hel", 'lo "you"')
        assert text_of(await client.until("response.output_text.delta")) == "Hel"
        await bench.hand.finish(claim)
        events = await client.until("response.completed")
        response = events[-1]["response"]
        assert response["output"][0]["content"][0]["text"] == 'Hello "you"'
        assert response["usage"]["input_tokens"] == 3
        assert response["usage"]["output_tokens"] == 2


async def test_numbers_are_contiguous_from_nought(bench):
    async with bench.client() as client:
        await client.create()
        await bench.hand.answer(*"abcdefgh")
        events = await client.until("response.completed")
        assert_contiguous(events)
        assert text_of(events) == "abcdefgh"


async def test_lanes_are_named_in_every_event_of_theirs(bench):
    async with bench.client() as client:
        await client.create("A", stream_id="a")
        await client.create("B", stream_id="b")
        for _ in range(2):
            claim = await bench.hand.claim()
            await bench.hand.say(claim, claim.request.messages[0].text)
            await bench.hand.finish(claim)
        lanes = {"a": [], "b": []}
        while not all(lane and lane[-1]["type"] == "response.completed" for lane in lanes.values()):
            event = await client.event()
            lanes[event["stream_id"]].append(event)
        for name, events in lanes.items():
            assert_contiguous(events)
            assert text_of(events) == name.upper()


async def test_a_second_create_on_a_lane_waits_its_turn(bench):
    async with bench.client() as client:
        await client.create("first")
        await client.create("second")
        for text in ("one", "two"):
            await bench.hand.answer(text)
            assert text_of(await client.until("response.completed")) == text


async def test_cancel_ends_what_runs_on_the_lane(bench):
    async with bench.client() as client:
        await client.create()
        claim = await bench.hand.claim()
        await bench.hand.say(claim, "Hel")
        await client.until("response.output_text.delta")
        await client.send(type="response.cancel")
        last = (await client.until("response.incomplete"))[-1]["response"]
        assert (last["status"], last["incomplete_details"]) == ("cancelled", None)
        assert last["output"][0]["content"][0]["text"] == "Hel"
        assert bench.metric("stop_delay_seconds_count") == 1


async def test_cancel_in_the_queue_ends_with_an_empty_output(bench):
    async with bench.client() as client:
        await client.create()
        await client.send(type="response.cancel")
        events = await client.until("response.incomplete")
        assert [event["sequence_number"] for event in events] == [0, 1]
        assert events[-1]["response"]["output"] == []


async def test_cancel_works_from_another_socket(bench):
    async with bench.client() as client, bench.client() as other:
        await client.create()
        created = await client.event()
        await other.send(type="response.cancel", response_id=created["response"]["id"])
        assert (await client.until("response.incomplete"))[-1]["response"]["status"] == "cancelled"


async def test_cancel_of_an_unknown_or_ended_response_says_so(bench):
    async with bench.client() as client:
        await client.create()
        claim = await bench.hand.answer("x")
        await client.until("response.completed")
        await client.send(type="response.cancel", response_id=claim.response_id, event_id="e1")
        error = await client.event()
        assert (error["error"]["code"], error["status"], error["event_id"]) == (
            "response_not_active",
            409,
            "e1",
        )
        await client.send(type="response.cancel", response_id="resp_000" + "0" * 32)
        assert (await client.event())["error"]["code"] == "response_not_found"


@pytest.mark.parametrize("after", range(-1, 9))
async def test_resume_goes_on_after_any_number_on_another_socket(bench, after):
    async with bench.client() as client:
        await client.create()
        claim = await bench.hand.answer("Hel", "lo")
        events = await client.until("response.completed")
    async with bench.client(f"?response_id={claim.response_id}&starting_after={after}") as client:
        assert_goes_on(await client.until("response.completed"), after, events, ["Hel", "lo"])


async def test_resume_in_mid_stream_goes_on_live(bench):
    async with bench.client() as client:
        await client.create()
        claim = await bench.hand.claim()
        await bench.hand.say(claim, "a", "b")
        before = await client.until("response.output_text.delta")
    last = before[-1]
    async with bench.client() as client:
        await client.send(
            type="response.resume",
            response_id=claim.response_id,
            starting_after=last["sequence_number"],
            epoch=last["epoch"],
            stream_id="again",
        )
        await bench.hand.say(claim, "c")
        await bench.hand.finish(claim)
        after = await client.until("response.completed")
        assert {event.pop("stream_id") for event in after} == {"again"}
        assert_contiguous(before + after)
        assert text_of(before + after) == "abc"
    assert bench.metric("resumes_total", outcome="resumed") == 1


async def test_resume_of_what_is_not_there_is_an_error_and_the_socket_stays(bench):
    async with bench.client() as client:
        await client.send(type="response.resume", response_id="resp_000" + "0" * 32, event_id="e")
        error = await client.event()
        assert (error["error"]["code"], error["event_id"]) == ("response_not_found", "e")
        await client.create()
        claim = await bench.hand.answer("x")
        await client.until("response.completed")
        await client.send(type="response.resume", response_id=claim.response_id, starting_after=99)
        assert (await client.event())["error"]["code"] == "starting_after_out_of_range"


async def test_two_sockets_follow_one_response(bench):
    async with bench.client() as client, bench.client() as second:
        await client.create()
        claim = await bench.hand.claim()
        await bench.hand.say(claim, "a")
        first = await client.until("response.output_text.delta")
        await second.send(type="response.resume", response_id=claim.response_id)
        seen = await second.until("response.output_text.delta")
        await bench.hand.say(claim, "b")
        await bench.hand.finish(claim)
        first += await client.until("response.completed")
        seen += await second.until("response.completed")
        assert first == seen


async def test_leaving_stops_nothing(bench):
    async with bench.client() as client:
        await client.create()
        claim = await bench.hand.claim()
    await until(lambda: not list(bench.gateway.hub.attachments))
    await bench.hand.say(claim, "still")
    await bench.hand.finish(claim)
    async with bench.client(f"?response_id={claim.response_id}") as client:
        assert text_of(await client.until("response.completed")) == "still"
    assert bench.metric("requests_total", outcome="left") == 1


async def test_a_failure_is_the_last_event(bench):
    async with bench.client() as client:
        await client.create()
        claim = await bench.hand.claim()
        await bench.hand.finish(claim, Reason.ERROR, "The engine broke.")
        error = (await client.until("response.failed"))[-1]["response"]["error"]
        assert error == {"code": "server_error", "message": "The engine broke."}


async def test_a_hand_over_is_not_seen_in_text_or_numbers(bench):
    async with bench.client() as client:
        await client.create()
        claim = await bench.hand.claim()
        await bench.hand.say(claim, "a")
        await bench.hand.store.release(claim)
        second = await bench.hand.claim()
        await bench.hand.say(second, "b")
        await bench.hand.finish(second)
        events = await client.until("response.completed")
        assert_contiguous(events)
        assert text_of(events) == "ab"
        deltas = [event for event in events if event["type"].endswith("text.delta")]
        assert deltas[0]["epoch"] < deltas[1]["epoch"]


async def test_a_repeated_create_with_its_key_attaches_to_the_first(bench):
    async with bench.client() as client, bench.client() as again:
        await client.create(idempotency_key="k")
        first = await client.event()
        await again.create(metadata={"idempotency_key": "k"})
        second = await again.event()
        assert first["response"]["id"] == second["response"]["id"]
        await bench.hand.answer("once")
        assert text_of(await again.until("response.completed")) == "once"


async def test_bad_json_is_an_error_and_the_socket_stays(bench):
    async with bench.client() as client:
        await client.connection.send("{")
        error = await client.event()
        assert (error["type"], error["status"], error["error"]["code"]) == ("error", 400, "invalid_json")
        await client.create(tools=[{"type": "function"}])
        assert (await client.event())["error"]["param"] == "tools"


async def test_an_error_about_something_else_waits_for_the_ending(bench):
    async with bench.client() as client:
        await client.create()
        claim = await bench.hand.claim()
        await client.send(type="response.steer")
        await bench.hand.say(claim, "x")
        await bench.hand.finish(claim)
        events = await client.until("error")
        assert [event["type"] for event in events[-2:]] == ["response.completed", "error"]


async def test_an_unknown_model_is_refused(bench):
    async with bench.client() as client:
        await client.create(model="huge")
        error = await client.event()
        assert (error["error"]["code"], error["error"]["param"]) == ("model_not_found", "model")


async def test_a_full_queue_is_refused_at_once_with_a_time():
    async with in_memory(waiting_bound=1) as bench, bench.client() as client:
        await client.create(stream_id="a")
        await client.event()
        await client.create(stream_id="b")
        error = await client.event()
        assert (error["stream_id"], error["error"]["code"]) == ("b", "overloaded")
        assert 1 <= error["error"]["retry_after"] <= 60
        assert bench.metric("rejections_total", reason="overloaded") == 1


async def test_a_submission_that_breaks_frees_its_lane(bench, monkeypatch):
    async def breaks(*_):
        raise RuntimeError("a mistake of ours")

    async with bench.client() as client:
        with monkeypatch.context() as patch:
            patch.setattr(bench.store, "submit", breaks)
            await client.create(event_id="e1")
            error = await client.event()
            assert (error["error"]["code"], error["event_id"]) == ("server_error", "e1")
        await client.create()
        await bench.hand.answer("x")
        await client.until("response.completed")
    assert bench.lines("task_failed")
    bench.logged.seek(0)
    bench.logged.truncate()


async def test_a_message_too_large_is_said_and_closes_with_1009(bench):
    async with bench.client() as client:
        await client.create("x" * (65 * 1024))
        error = await client.event()
        assert (error["type"], error["status"], error["error"]["code"]) == (
            "error",
            413,
            "message_too_large",
        )
        assert await client.closed() == 1009


async def test_a_message_of_exactly_the_limit_is_read(bench):
    async with bench.client() as client:
        shell = len(json.dumps({"type": "response.create", "input": ""}))
        await client.create("x" * (MESSAGE_BYTES - shell))
        assert (await client.event())["type"] == "response.created"


async def test_a_binary_message_closes_with_1003(bench):
    async with bench.client() as client:
        await client.connection.send(b"{}")
        assert await client.closed() == 1003


async def test_bad_utf8_closes_with_1007(bench):
    async with bench.client() as client:
        await client.connection.send(b"\xff\xff", text=True)
        assert await client.closed() == 1007


async def test_an_old_session_is_asked_to_connect_anew_between_turns():
    async with in_memory(session_seconds=1.0) as bench, bench.client() as client:
        await client.create()
        claim = await bench.hand.claim()
        await client.until("response.content_part.added")
        await asyncio.sleep(1.5)  # the session's age is what is tested
        await bench.hand.say(claim, "x")
        await bench.hand.finish(claim)
        events = await client.until("error")
        assert events[-2]["type"] == "response.completed"
        assert events[-1]["error"]["code"] == "websocket_connection_limit_reached"
        assert await client.closed() == 1000
