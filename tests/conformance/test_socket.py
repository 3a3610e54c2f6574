"""The WebSocket door, message by message."""

import asyncio
import json

import pytest
from conformance_kit import NOBODY, PROMPT, TERMINAL, contiguous, id_of, orderly, text_of
from websockets.exceptions import InvalidStatus

LONG = 2_000
"""Tokens of an answer that is still running when the test acts."""


async def test_a_response_is_the_whole_set_of_events_in_order(target):
    async with target.socket() as socket:
        events = await socket.whole()
    orderly(events)
    assert text_of(events)
    stored = await target.stored(id_of(events))
    assert stored["output"][0]["content"][0]["text"] == text_of(events)
    assert stored["usage"] == events[-1]["response"]["usage"]


async def test_no_greeting_comes_before_the_first_question(target):
    async with target.socket() as socket:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(socket.connection.recv(), 0.2)
        assert (await socket.whole())[0]["type"] == "response.created"


async def test_the_limit_of_tokens_is_an_incomplete_response(target):
    async with target.socket() as socket:
        final = (await socket.whole(2))[-1]
    assert final["type"] == "response.incomplete"
    assert final["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert final["response"]["usage"]["output_tokens"] == 2


async def test_the_default_lane_answers_in_the_order_of_asking(target):
    async with target.socket() as socket:
        for n in range(3):
            await socket.create(4, metadata={"n": str(n)})
        turns = [await socket.until(*TERMINAL) for _ in range(3)]
    for n, events in enumerate(turns):
        orderly(events)
        assert events[-1]["response"]["metadata"] == {"n": str(n)}


async def test_lanes_run_beside_each_other_and_name_themselves(target):
    lanes = ["a", "b.1", "c_2", "d-3"]
    async with target.socket() as socket:
        for lane in lanes:
            await socket.create(20, stream_id=lane)
        open_lanes = set(lanes)
        while open_lanes:
            event = await socket.event()
            if event["type"] in TERMINAL:
                open_lanes.discard(event["stream_id"])
        for lane in lanes:
            orderly([event for event in socket.seen if event.get("stream_id") == lane])
    assert all("stream_id" in event for event in socket.seen)


async def test_a_lane_is_first_in_first_out_while_another_overtakes(target):
    async with target.socket() as socket:
        await socket.create(100, stream_id="slow")
        await socket.create(2, stream_id="slow")
        await socket.create(2, stream_id="quick")
        await socket.until(*TERMINAL, lane="quick")
        assert not [each for each in socket.seen if each["type"] in TERMINAL and each["stream_id"] == "slow"]
        first = [each for each in socket.seen if each["stream_id"] == "slow"]
        first += await socket.until(*TERMINAL, lane="slow")
        orderly(first)
        orderly(await socket.until(*TERMINAL, lane="slow"))


@pytest.mark.parametrize("lane", ["x", "A" * 256, "0_.-"])
async def test_any_allowed_stream_id_is_echoed(target, lane):
    async with target.socket() as socket:
        events = await socket.whole(2, stream_id=lane)
    assert {event["stream_id"] for event in events} == {lane}


async def test_unknown_fields_and_neutral_values_are_passed_over(target):
    neutral = {
        "stream": True,
        "tools": [],
        "tool_choice": "auto",
        "include": [],
        "text": {"format": {"type": "text"}},
        "reasoning": {"effort": None},
        "truncation": "disabled",
        "n": 1,
        "user": "u",
        "store": True,
        "parallel_tool_calls": True,
        "of_tomorrow": {"x": [1]},
    }
    async with target.socket() as socket:
        orderly(await socket.whole(2, **neutral))


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": PROMPT}],
        [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": PROMPT}]}],
        [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]},
            {"role": "user", "content": PROMPT},
        ],
    ],
    ids=["text", "parts", "all roles"],
)
async def test_input_may_be_a_list_of_messages(target, messages):
    async with target.socket() as socket:
        orderly(await socket.whole(2, input=messages, instructions="Answer."))


async def test_what_was_asked_is_shown_in_the_response(target):
    async with target.socket() as socket:
        events = await socket.whole(3, metadata={"k": "v"}, seed=7, top_p=0.5, instructions="Short.")
    response = events[-1]["response"]
    assert (response["metadata"], response["seed"], response["top_p"]) == ({"k": "v"}, 7, 0.5)
    assert (response["instructions"], response["max_output_tokens"]) == ("Short.", 3)


async def test_the_same_seed_is_the_same_answer(target):
    async with target.socket() as socket:
        asked = {"seed": 7, "temperature": 0.8}
        assert text_of(await socket.whole(8, **asked)) == text_of(await socket.whole(8, **asked))


async def test_logprobs_that_are_asked_for_are_those_of_the_text_wherever_they_are_told(target):
    async with target.socket() as socket:
        events = await socket.whole(6, include=["message.output_text.logprobs"], top_logprobs=2)
    deltas = [event for event in events if event["type"] == "response.output_text.delta"]
    told = [each for event in deltas for each in event["logprobs"]]
    assert told
    text = b"".join(bytes(each["bytes"]) for each in told).decode(errors="replace")
    assert text_of(events).startswith(text[: len(text_of(events))])
    for each in told:
        assert each["logprob"] <= 0
        first, second = (other["logprob"] for other in each["top_logprobs"])
        assert first >= second
    text_done, part_done, item_done, last = events[-4:]
    (stored,) = (await target.stored(id_of(events)))["output"][0]["content"]
    assert text_done["logprobs"] == part_done["part"]["logprobs"] == told
    assert item_done["item"]["content"][0]["logprobs"] == stored["logprobs"] == told
    assert last["response"]["output"][0]["content"][0]["logprobs"] == told
    async with target.socket(f"?response_id={id_of(events)}&starting_after=4") as socket:
        rest = await socket.until(*TERMINAL)
    again = [each for e in rest if e["type"] == "response.output_text.delta" for each in e["logprobs"]]
    assert again == [each for event in deltas[1:] for each in event["logprobs"]]


async def test_penalties_are_taken_and_shown_and_bounded(target):
    async with target.socket() as socket:
        events = await socket.whole(4, frequency_penalty=0.5, presence_penalty=-1)
        orderly(events)
        response = events[-1]["response"]
        assert (response["frequency_penalty"], response["presence_penalty"]) == (0.5, -1)
        await socket.create(4, frequency_penalty=2.5)
        assert (await socket.refused())["error"]["param"] == "frequency_penalty"


async def test_the_same_idempotency_key_is_the_same_response(target):
    key = f"conformance-{id(object())}-{asyncio.get_running_loop().time()}"
    async with target.socket() as one, target.socket() as other:
        first, second = await asyncio.gather(
            one.whole(6, idempotency_key=key), other.whole(6, metadata={"idempotency_key": key})
        )
    assert id_of(first) == id_of(second)
    assert text_of(first) == text_of(second)


# ---- cancel ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["lane", "id", "another socket"])
async def test_a_running_response_is_cancelled(target, how):
    async with target.socket() as socket, target.socket() as other:
        await socket.create(LONG)
        events = await socket.until("response.output_text.delta")
        named = {} if how == "lane" else {"response_id": id_of(events)}
        await (other if how == "another socket" else socket).send("response.cancel", **named)
        events += await socket.until(*TERMINAL)
    orderly(events)
    final = events[-1]["response"]
    assert (events[-1]["type"], final["status"]) == ("response.incomplete", "cancelled")
    assert final["incomplete_details"] is None
    assert final["usage"]["output_tokens"] > 0


async def test_a_cancel_right_behind_its_create_is_one_ending(target):
    async with target.socket() as socket:
        await socket.create(LONG)
        await socket.send("response.cancel")
        events = await socket.until(*TERMINAL)
    orderly(events)
    assert events[-1]["response"]["status"] == "cancelled"


async def test_a_cancel_on_one_lane_leaves_the_other(target):
    async with target.socket() as socket:
        await socket.create(LONG, stream_id="stopped")
        await socket.create(40, stream_id="other")
        await socket.send("response.cancel", stream_id="stopped")
        open_lanes = {"stopped", "other"}
        while open_lanes:
            event = await socket.event()
            if event["type"] in TERMINAL:
                open_lanes.discard(event["stream_id"])
        endings = {e["stream_id"]: e["response"] for e in socket.seen if e["type"] in TERMINAL}
    assert endings["stopped"]["status"] == "cancelled"
    assert endings["other"]["usage"]["output_tokens"] == 40


async def test_a_cancel_after_the_end_is_told_and_changes_nothing(target):
    async with target.socket() as socket:
        events = await socket.whole(2)
        await socket.send("response.cancel", response_id=id_of(events), event_id="late")
        error = await socket.refused()
        assert (error["status"], error["error"]["code"]) == (409, "response_not_active")
        assert error["event_id"] == "late"
        orderly(await socket.whole(2))
    assert (await target.stored(id_of(events)))["status"] == events[-1]["response"]["status"]


# ---- resume ----------------------------------------------------------------------------------------


async def test_resume_at_every_number_is_the_rest(target):
    async with target.socket() as socket:
        whole = await socket.whole(6)
        last, response_id = whole[-1]["sequence_number"], id_of(whole)
        for after in range(-1, last):
            await socket.send("response.resume", response_id=response_id, starting_after=after)
            events = await socket.until(*TERMINAL)
            contiguous(events, after + 1)
            rest = [event for event in whole if event["sequence_number"] > after]
            assert text_of(events) == text_of(rest)
            assert events[-1] == whole[-1]


async def test_resume_after_the_last_event_is_silent_and_frees_the_lane(target):
    async with target.socket() as socket:
        whole = await socket.whole(2)
        last = whole[-1]["sequence_number"]
        await socket.send("response.resume", response_id=id_of(whole), starting_after=last)
        orderly(await socket.whole(2))


async def test_resume_beyond_the_log_is_refused(target):
    async with target.socket() as socket:
        whole = await socket.whole(2)
        await socket.send(
            "response.resume", response_id=id_of(whole), starting_after=whole[-1]["sequence_number"] + 1
        )
        error = await socket.refused()
    assert (error["status"], error["error"]["code"]) == (400, "starting_after_out_of_range")


async def test_resume_under_an_epoch_that_never_was_is_unavailable(target):
    async with target.socket() as socket:
        whole = await socket.whole(2)
        await socket.send("response.resume", response_id=id_of(whole), starting_after=4, epoch=2)
        error = await socket.refused()
        assert (error["status"], error["error"]["code"]) == (410, "resume_unavailable")
        orderly(await socket.whole(2))


async def test_a_cut_socket_is_resumed_by_the_handshake(target):
    async with target.socket() as socket:
        await socket.create(100)
        events = await socket.until("response.output_text.delta")
        socket.connection.transport.abort()
    query = f"?response_id={id_of(events)}&starting_after={events[-1]['sequence_number']}"
    async with target.socket(f"{query}&epoch={events[-1]['epoch']}") as socket:
        events += await socket.until(*TERMINAL)
    orderly(events)
    assert events[-1]["response"]["usage"]["output_tokens"] == 100


async def test_several_responses_are_resumed_by_one_handshake(target):
    async with target.socket() as socket:
        wholes = [await socket.whole(3) for _ in range(2)]
    one, two = map(id_of, wholes)
    query = f"?response_id={one}&starting_after=-1&stream_id=a&response_id={two}&starting_after=4&stream_id=b"
    async with target.socket(query) as socket:
        while len([event for event in socket.seen if event["type"] in TERMINAL]) < 2:
            await socket.event()
    orderly([event for event in socket.seen if event["stream_id"] == "a"])
    contiguous([event for event in socket.seen if event["stream_id"] == "b"], 5)


async def test_a_second_viewer_sees_the_same(target):
    async with target.socket() as socket, target.socket() as other:
        await socket.create(60)
        events = await socket.until("response.output_text.delta")
        await other.send("response.resume", response_id=id_of(events))
        seen = await other.until(*TERMINAL)
        events += await socket.until(*TERMINAL)
    orderly(seen)
    assert text_of(seen) == text_of(events)
    assert seen[-1] == events[-1]


async def test_an_unknown_response_in_the_handshake_is_told_on_the_socket(target):
    async with target.socket(f"?response_id={NOBODY}") as socket:
        error = await socket.refused()
        assert (error["status"], error["error"]["code"]) == (404, "response_not_found")
        orderly(await socket.whole(2))


# ---- limits ----------------------------------------------------------------------------------------


async def test_more_lanes_than_allowed_are_refused_by_name(target):
    async with target.socket() as socket:
        codes = []
        for n in range(33):
            await socket.send("response.resume", response_id=NOBODY, stream_id=f"lane{n}")
            codes.append((await socket.refused(f"lane{n}"))["error"]["code"])
    assert codes == ["response_not_found"] * 32 + ["websocket_stream_limit_reached"]


async def test_more_running_responses_than_allowed_are_refused_by_name(target):
    async with target.socket() as socket:
        for n in range(17):
            await socket.create(LONG, stream_id=f"lane{n}")
        error = await socket.refused("lane16")
        assert (error["status"], error["error"]["code"]) == (429, "too_many_active_responses")
        for n in range(16):
            await socket.send("response.cancel", stream_id=f"lane{n}")
        while len([event for event in socket.seen if event["type"] in TERMINAL]) < 16:
            await socket.event()
    for n in range(16):
        orderly([event for event in socket.seen if event["stream_id"] == f"lane{n}"])


async def test_a_lane_takes_sixteen_waiting_and_refuses_the_next(target):
    async with target.socket() as socket:
        await socket.create(LONG)
        for _ in range(17):
            await socket.create(1, event_id="waits")
        await socket.until("response.output_text.delta")
        await socket.send("response.cancel")
        events = await socket.until("error")
    assert (events[-1]["status"], events[-1]["error"]["code"]) == (409, "lane_busy")


async def test_more_messages_than_allowed_in_a_minute_are_refused(target):
    async with target.socket() as socket:
        for _ in range(105):
            await socket.send("response.dance")
        codes = [(await socket.event())["error"]["code"] for _ in range(105)]
    assert codes[:100] == ["unsupported_event"] * 100
    assert codes[-1] == "rate_limit_exceeded"


# ---- close codes -----------------------------------------------------------------------------------


async def test_a_binary_frame_closes_with_1003(target):
    async with target.socket() as socket:
        await socket.connection.send(b"\x00")
        assert await socket.close_code() == 1003


async def test_a_message_too_large_is_told_and_closes_with_1009(target):
    async with target.socket() as socket:
        await socket.connection.send(json.dumps({"type": "response.create", "input": "x" * 70_000}))
        error = await socket.refused()
        assert (error["status"], error["error"]["code"]) == (413, "message_too_large")
        assert await socket.close_code() == 1009


async def test_text_that_is_not_utf8_closes_with_1007(target):
    async with target.socket() as socket:
        await socket.connection.send(b'{"type":"\xff"}', text=True)
        assert await socket.close_code() == 1007


async def test_a_large_message_within_the_limit_is_taken(target):
    async with target.socket() as socket:
        events = await socket.whole(2, input=PROMPT, metadata={str(n): "v" * 500 for n in range(16)})
        orderly(events)


# ---- handshakes ------------------------------------------------------------------------------------


async def test_our_subprotocol_is_chosen_and_others_are_no_reason_to_refuse(target):
    async with target.socket(subprotocols=["chat", "tokenwire.v1"]) as socket:
        assert socket.connection.subprotocol == "tokenwire.v1"
    async with target.socket() as socket:
        assert socket.connection.subprotocol is None
        assert socket.connection.response.headers["x-request-id"]


async def test_unknown_query_and_headers_are_passed_over(target):
    headers = {"OpenAI-Beta": "responses_websockets=2026-02-06"}
    async with target.socket("?tomorrow=1", headers=headers) as socket:
        orderly(await socket.whole(2))


async def test_compression_is_not_agreed_to(target):
    async with target.socket() as socket:
        assert "Sec-WebSocket-Extensions" not in socket.connection.response.headers


async def test_another_path_is_not_found(target):
    with pytest.raises(InvalidStatus) as refused:
        async with target.socket("/nowhere"):
            pass
    assert refused.value.response.status_code == 404
