"""The official openai package, unchanged, against the door."""

import asyncio
import json

import msgspec
import pytest
from gateway_bench import assert_contiguous, in_memory, text_of
from openai import APIStatusError, BadRequestError, NotFoundError
from pydantic import BaseModel

from shared.request import Keeps


async def test_connect_streams_a_response_as_the_model_makes_it(bench):
    async with bench.sdk() as client, client.responses.connect() as connection:
        await connection.response.create(model="tiny", input="Hello")
        claim = await bench.hand.claim()
        text = ""
        async for event in connection:
            if event.type == "response.content_part.added":
                await bench.hand.say(claim, "Hel")
            elif event.type == "response.output_text.delta":
                text += event.delta
                if text == "Hel":  # the next one is made only now: nothing came in one burst
                    await bench.hand.say(claim, "lo")
                else:
                    await bench.hand.finish(claim)
            elif event.type == "response.completed":
                break
        assert text == event.response.output_text == "Hello"
        assert event.response.usage.output_tokens == 2


async def test_cancel_is_a_message_and_ends_the_stream(bench):
    async with bench.sdk() as client, client.responses.connect() as connection:
        await connection.response.create(model="tiny", input="Hello")
        claim = await bench.hand.claim()
        await bench.hand.say(claim, "Hel")
        async for event in connection:
            if event.type == "response.output_text.delta":
                await connection.send({"type": "response.cancel"})
            elif event.type == "response.incomplete":
                break
        assert event.response.status == "cancelled"
        assert event.response.incomplete_details is None
        assert event.response.output_text == "Hel"


async def test_resume_is_a_query_of_the_handshake(bench):
    async with bench.sdk() as client:
        async with client.responses.connect() as connection:
            await connection.response.create(model="tiny", input="Hello")
            claim = await bench.hand.claim()
            await bench.hand.say(claim, "a", "b")
            text = ""
            async for event in connection:
                if event.type == "response.output_text.delta":
                    text += event.delta
                    break
        query = {"response_id": claim.response_id, "starting_after": str(event.sequence_number)}
        await bench.hand.say(claim, "c")
        await bench.hand.finish(claim)
        async with client.responses.connect(extra_query=query) as connection:
            async for event in connection:
                if event.type == "response.output_text.delta":
                    text += event.delta
                elif event.type == "response.completed":
                    break
        assert text == event.response.output_text == "abc"


async def test_a_cut_in_mid_stream_is_bridged_by_the_sdk_itself():
    async with in_memory(connection_seconds=2.5, session_seconds=100.0) as bench, bench.sdk() as client:
        seen = []

        def on_reconnecting(_):
            return {
                "extra_query": {
                    "response_id": seen[0].response.id,
                    "starting_after": str(seen[-1].sequence_number),
                }
            }

        async with client.responses.connect(
            on_reconnecting=on_reconnecting, initial_delay=0.01
        ) as connection:
            await connection.response.create(model="tiny", input="Hello")
            claim = await bench.hand.claim()
            await bench.hand.say(claim, "a")
            working = asyncio.create_task(write_after_the_cut(bench, claim))
            async with asyncio.timeout(20):
                async for event in connection:
                    seen.append(event)
                    if event.type == "response.completed":
                        break
            await working
        events = [event.to_dict() for event in seen]
        assert_contiguous(events)
        assert text_of(events) == "abc"


async def write_after_the_cut(bench, claim):
    while not bench.lines("socket_closed"):  # noqa: ASYNC110 - the log tells, no event does
        await asyncio.sleep(0.01)
    await bench.hand.say(claim, "b", "c")
    await bench.hand.finish(claim)


async def test_models_are_listed(bench):
    async with bench.sdk() as client:
        assert [model.id async for model in client.models.list()] == ["tiny"]
        assert (await client.models.retrieve("tiny")).created == 1_700_000_000
        with pytest.raises(NotFoundError):
            await client.models.retrieve("huge")


async def test_a_plain_create_waits_for_the_whole_response(bench):
    async with bench.sdk() as client:
        asking = asyncio.create_task(client.responses.create(model="tiny", input="Hello"))
        await bench.hand.answer("Hel", "lo")
        response = await asking
        assert (response.status, response.output_text) == ("completed", "Hello")


async def test_a_streamed_create_is_server_sent(bench):
    async with bench.sdk() as client:
        stream = await client.responses.create(model="tiny", input="Hello", stream=True)
        claim = await bench.hand.claim()
        numbers = []
        async for event in stream:
            numbers.append(event.sequence_number)
            if event.type == "response.content_part.added":
                await bench.hand.say(claim, "Hi")
            elif event.type == "response.output_text.delta":
                await bench.hand.finish(claim)
        assert numbers == list(range(9))
        assert event.response.output_text == "Hi"


async def test_the_stream_helper_accepts_the_event_set(bench):
    async with bench.sdk() as client:
        working = asyncio.create_task(bench.hand.answer("Hel", "lo"))
        async with client.responses.stream(model="tiny", input="Hello") as stream:
            final = await stream.get_final_response()
        await working
        assert final.output_text == "Hello"


async def test_a_background_response_is_polled_streamed_and_cancelled(bench):
    async with bench.sdk() as client:
        queued = await client.responses.create(model="tiny", input="Hello", background=True)
        assert queued.status == "queued"
        claim = await bench.hand.claim()
        await bench.hand.say(claim, "a", "b")
        running = await client.responses.retrieve(queued.id)
        assert (running.status, running.output_text) == ("in_progress", "ab")
        stream = await client.responses.retrieve(queued.id, stream=True, starting_after=4)
        assert (await anext(aiter(stream))).delta == "b"
        await stream.close()
        assert (await client.responses.cancel(queued.id)).status == "cancelled"
        assert (await client.responses.cancel(queued.id)).status == "cancelled"


async def test_errors_are_the_sdks_own(bench):
    async with bench.sdk() as client:
        with pytest.raises(NotFoundError) as unknown:
            await client.responses.retrieve("resp_nobody")
        assert unknown.value.code == "response_not_found"
        with pytest.raises(APIStatusError) as unsupported:
            await client.responses.create(model="tiny", input="x", truncation="auto")
        assert (unsupported.value.status_code, unsupported.value.param) == (400, "truncation")


class City(BaseModel):
    name: str
    capital: bool


async def test_an_answer_is_parsed_as_the_model_that_was_asked_for(bench):
    async with bench.sdk() as client:
        asking = asyncio.create_task(
            client.responses.parse(model="tiny", input="Where?", text_format=City, timeout=20)
        )
        claim = await bench.hand.claim()
        assert json.loads(claim.request.sampling.grammar)["required"] == ["name", "capital"]
        await bench.hand.say(claim, '{"name": "Paris", ', '"capital": true}')
        await bench.hand.finish(claim)
        response = await asking
        assert response.output_parsed == City(name="Paris", capital=True)
        assert (response.text.format.type, response.text.format.name) == ("json_schema", "City")


async def test_a_chat_is_parsed_as_the_model_that_was_asked_for(bench):
    async with bench.sdk() as client:
        messages = [{"role": "user", "content": "Where?"}]
        asking = asyncio.create_task(
            client.chat.completions.parse(model="tiny", messages=messages, response_format=City, timeout=20)
        )
        claim = await bench.hand.claim()
        assert json.loads(claim.request.sampling.grammar)["additionalProperties"] is False
        await bench.hand.say(claim, '{"name": "Lyon", "capital": false}')
        await bench.hand.finish(claim)
        assert (await asking).choices[0].message.parsed == City(name="Lyon", capital=False)


async def test_a_schema_that_cannot_be_kept_to_is_a_bad_request_at_each_door(bench):
    bench.hand.info = msgspec.structs.replace(bench.hand.info, keeps=Keeps.GRAMMAR)
    await bench.hand.announce()
    await bench.gateway._models.refresh()
    named = {"name": "City", "schema": {"type": "strin"}}
    form = {"format": {"type": "json_schema", **named}}
    async with bench.sdk() as client, bench.client() as socket:
        with pytest.raises(BadRequestError, match="Invalid type: strin") as asked:
            await client.responses.create(model="tiny", input="Where?", text=form)
        with pytest.raises(BadRequestError, match="Invalid type: strin") as chatted:
            await client.chat.completions.create(
                model="tiny",
                messages=[{"role": "user", "content": "Where?"}],
                response_format={"type": "json_schema", "json_schema": named},
            )
        await socket.send(type="response.create", input="Where?", text=form, event_id="e")
        event = await socket.event()
    assert (asked.value.code, asked.value.type) == ("invalid_request", "invalid_request_error")
    assert asked.value.param == event["error"]["param"] == "text.format.schema"
    assert chatted.value.param == "response_format.json_schema.schema"
    assert (event["type"], event["status"], event["event_id"]) == ("error", 400, "e")
