import asyncio
import json

import pytest
from gateway_bench import PATIENCE, in_memory, until

from shared.log import Reason, Status
from shared.request import Message
from shared.store.contract import Append, AppendReply

CHAT = {"messages": [{"role": "user", "content": "Hello"}]}
PREFIX = {"/v1/chat/completions": "chatcmpl-", "/v1/completions": "cmpl-"}
older = pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/chat/completions", CHAT), ("/v1/completions", {"prompt": "Hello"})],
    ids=["chat", "text"],
)


async def data(client, path, body):
    """Read a stream's data to its end."""
    async with client.stream("POST", path, json=body | {"stream": True}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line[6:] async for line in answer.aiter_lines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def said(chunk):
    choice = chunk["choices"][0]
    return choice["text"] if "text" in choice else choice["delta"].get("content", "")


@older
async def test_a_stream_of_chunks_is_the_logs_text(bench, path, body):
    async with bench.http() as client:
        asking = asyncio.create_task(data(client, path, body | {"stream_options": {"include_usage": True}}))
        claim = await bench.hand.answer('a"', "\n", "é")
        *chunks, usage, done = await asking
        stored = (await client.get(f"/v1/responses/{claim.response_id}")).json()
    assert "".join(map(said, chunks)) == stored["output"][0]["content"][0]["text"] == 'a"\né'
    assert {chunk["id"] for chunk in chunks} == {PREFIX[path] + claim.response_id.removeprefix("resp_")}
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert usage["usage"]["total_tokens"] == stored["usage"]["total_tokens"] == 6
    assert done == "[DONE]"
    assert claim.request.raw is (PREFIX[path] == "cmpl-")
    assert claim.request.messages == (Message("user", "Hello"),)
    assert claim.request.keep == 0


@older
async def test_the_whole_answer_comes_at_the_end(bench, path, body):
    async with bench.http() as client:
        asking = asyncio.create_task(client.post(path, json=body))
        claim = await bench.hand.answer("a", "b")
        answer = (await asking).json()
    assert answer["id"] == PREFIX[path] + claim.response_id.removeprefix("resp_")
    choice = answer["choices"][0]
    assert choice.get("text", choice.get("message", {}).get("content")) == "ab"
    assert answer["model"] == "tiny"
    assert answer["system_fingerprint"].startswith("fp_")


@older
async def test_a_failure_is_an_error_in_the_stream_and_a_status_without_one(bench, path, body):
    async with bench.http() as client:
        asking = asyncio.create_task(data(client, path, body))
        claim = await bench.hand.claim()
        await bench.hand.say(claim, "a")
        await bench.hand.finish(claim, Reason.ERROR, "It broke.")
        chunks = await asking
        assert chunks[-1]["error"]["message"] == "It broke."
        assert "[DONE]" not in chunks
        waiting = asyncio.create_task(client.post(path, json=body))
        await bench.hand.finish(await bench.hand.claim(), Reason.CONTEXT, "Too long.")
        answer = await waiting
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")


@older
async def test_leaving_a_stream_of_chunks_ends_it(bench, path, body):
    async with bench.http() as client:
        async with client.stream("POST", path, json=body | {"stream": True}) as answer:
            claim = await bench.hand.claim()
            await bench.hand.say(claim, "a")
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    break
        await until(lambda: bench.server.records[claim.response_id].status is Status.CANCELLED)


@older
async def test_a_drain_ends_a_stream_of_chunks_with_an_error_and_its_response(bench, path, body):
    async with bench.http() as client:
        asking = asyncio.create_task(data(client, path, body))
        claim = await bench.hand.claim()
        await bench.hand.say(claim, "a")
        await until(lambda: bench.metric("connections", door="sse") == 1)
        await bench.gateway._drain.send_away(0)
        chunks = await asyncio.wait_for(asking, PATIENCE)
    assert chunks[-1]["error"]["code"] == "server_draining"
    assert "[DONE]" not in chunks
    await until(lambda: bench.server.records[claim.response_id].status is Status.CANCELLED)


@older
async def test_a_bad_body_of_an_older_api_is_refused_by_name(bench, path, body):
    async with bench.http() as client:
        for fields, param in (({"n": 2}, "n"), ({"max_tokens": 0}, "max_tokens"), ({"model": "x"}, "model")):
            answer = await client.post(path, json=body | fields)
            assert answer.status_code in (400, 404)
            assert answer.json()["error"]["param"] == param
        assert (await client.get(path)).status_code == 405


async def test_unknown_paths_of_the_api_answer_in_json(bench):
    async with bench.http() as client:
        answer = await client.get("/v1/nothing")
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "not_found"
        assert answer.headers["x-request-id"]
        assert "date" in answer.headers


async def test_the_sockets_path_without_an_upgrade_asks_for_one(bench):
    async with bench.http() as client:
        answer = await client.get("/v1/responses")
        assert answer.status_code == 426
        assert answer.headers["upgrade"] == "websocket"


async def test_several_requests_go_over_one_connection(bench):
    async with bench.http() as client:
        for _ in range(3):
            assert (await client.get("/v1/models")).status_code == 200


async def test_a_foreign_origin_and_a_rebound_host_are_refused(bench):
    async with bench.http() as client:
        for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
            answer = await client.post("/v1/responses", json={"input": "x"}, headers=headers)
            assert answer.status_code == 403
    assert not bench.server.records


async def test_a_cursor_beyond_the_end_is_refused(bench):
    async with bench.http() as client:
        created = (await client.post("/v1/responses", json={"input": "x", "background": True})).json()
        await bench.hand.answer("a")
        answer = await client.get(f"/v1/responses/{created['id']}?stream=true&starting_after=99")
        assert answer.json()["error"]["code"] == "starting_after_out_of_range"
        answer = await client.get(f"/v1/responses/{created['id']}?stream=true&starting_after=x")
        assert answer.json()["error"]["param"] == "starting_after"


async def test_a_full_queue_says_when_to_come_back():
    async with in_memory(waiting_bound=1) as bench, bench.http() as client:
        await client.post("/v1/responses", json={"input": "x", "background": True})
        answer = await client.post("/v1/responses", json={"input": "x", "background": True})
        assert answer.status_code == 503
        assert 1 <= int(answer.headers["retry-after"]) <= 60


# ---- conversations, and taking a response away ----


async def test_a_deleted_response_is_not_found_any_more(bench):
    async with bench.http() as client:
        created = (await client.post("/v1/responses", json={"input": "x", "background": True})).json()
        await bench.hand.answer("a")
        path = f"/v1/responses/{created['id']}"
        gone = await client.delete(path)
        assert gone.json() == {"id": created["id"], "object": "response", "deleted": True}
        for answer in (
            await client.get(path),
            await client.get(path + "?stream=true"),
            await client.get(path + "/input_items"),
            await client.post(path + "/cancel"),
            await client.delete(path),
        ):
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "response_not_found")
        again = await client.post(
            "/v1/responses", json={"input": "x", "background": True, "previous_response_id": created["id"]}
        )
        assert again.json()["error"]["code"] == "previous_response_not_found"


async def test_a_stop_by_whichever_door_leaves_a_line_with_what_became_of_it(bench):
    async with bench.http() as client, bench.client() as socket:
        created = (await client.post("/v1/responses", json={"input": "x", "background": True})).json()
        for _ in range(2):
            await client.post(f"/v1/responses/{created['id']}/cancel")
        await socket.send(type="response.cancel", response_id=created["id"])
        await socket.event()
        await client.post(f"/v1/responses/resp_000{'0' * 32}/cancel")
    said = [(line["response_id"], line["outcome"]) for line in bench.lines("stop")]
    assert said == [
        (created["id"], "ended"),
        (created["id"], "already_ended"),
        (created["id"], "already_ended"),
        (f"resp_000{'0' * 32}", "response_not_found"),
    ]


async def test_deleting_ends_what_runs_and_tells_who_watches(bench):
    async with bench.http() as client:
        asking = asyncio.create_task(data(client, "/v1/responses", {"input": "x"}))
        claim = await bench.hand.claim()
        await bench.hand.say(claim, "a")
        assert (await client.delete(f"/v1/responses/{claim.response_id}")).status_code == 200
        events = await asking
        assert (await client.get(f"/v1/responses/{claim.response_id}")).status_code == 404
    assert events[-1]["type"] == "response.incomplete"
    assert events[-1]["response"]["status"] == "cancelled"
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "a"
    assert await bench.hand.store.append([Append(claim.response_id, claim.epoch, 6, "b", (6,))]) == [
        AppendReply.REFUSED
    ]


async def test_a_conversation_goes_on_over_http_and_sockets(bench):
    async with bench.http() as client, bench.client() as socket:
        asking = asyncio.create_task(
            client.post("/v1/responses", json={"input": "Who?", "instructions": "Be kind."})
        )
        await bench.hand.answer("I.")
        first = (await asking).json()
        await socket.create("Why?", previous_response_id=first["id"], store=False)
        claim = await bench.hand.answer("So.")
        (*_, ended) = await socket.until("response.completed")
        assert ended["response"]["previous_response_id"] == first["id"]
        assert claim.request.messages == (
            Message("user", "Who?"),
            Message("assistant", "I."),
            Message("user", "Why?"),
        )
        assert (claim.request.stored, ended["response"]["store"]) == (False, False)
        listed = (await client.get(f"/v1/responses/{claim.response_id}/input_items?order=asc")).json()
        texts = [item["content"][0]["text"] for item in listed["data"]]
        assert texts == ["Who?", "I.", "Why?"]
        await socket.create("x", previous_response_id="resp_x", event_id="e")
        error = await socket.event()
        assert (error["error"]["code"], error["error"]["param"]) == (
            "previous_response_not_found",
            "previous_response_id",
        )


async def test_a_page_that_is_none_is_refused(bench):
    async with bench.http() as client:
        created = (await client.post("/v1/responses", json={"input": "x", "background": True})).json()
        path = f"/v1/responses/{created['id']}/input_items"
        for query, param in (
            ("limit=0", "limit"),
            ("limit=x", "limit"),
            ("order=up", "order"),
            ("after=x", "after"),
        ):
            answer = await client.get(f"{path}?{query}")
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
