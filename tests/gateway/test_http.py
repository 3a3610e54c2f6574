import asyncio
import json

from gateway_bench import in_memory, until

from gateway.http import BODY_BYTES
from shared.log import Status


async def test_a_page_that_was_not_built_says_what_to_do(tmp_path):
    async with in_memory(page_dir=tmp_path) as bench, bench.http() as client:
        answer = await client.get("/")
        assert answer.status_code == 503
        assert "make setup" in answer.text


async def test_the_built_page_is_served_under_a_strict_policy(tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><p>page")
    (tmp_path / "assets" / "app-1.js").write_text("1")
    async with in_memory(page_dir=tmp_path) as bench, bench.http() as client:
        page = await client.get("/")
        policy = page.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert f"ws://{bench.authority}" in policy
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["cache-control"] == "no-cache"
        script = await client.get("/assets/app-1.js")
        assert "immutable" in script.headers["cache-control"]
        assert (await client.get("/nothing.js")).status_code == 404
        assert (await client.get("/../gateway/app.py")).status_code == 404


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


async def test_a_body_too_large_is_refused(bench):
    async with bench.http() as client:
        answer = await client.post("/v1/responses", content=b" " * (BODY_BYTES + 1))
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "message_too_large"


async def test_a_foreign_origin_and_a_rebound_host_are_refused(bench):
    async with bench.http() as client:
        for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
            answer = await client.post("/v1/responses", json={"input": "x"}, headers=headers)
            assert answer.status_code == 403
    assert not bench.server.records


async def test_leaving_a_plain_stream_stops_it(bench):
    async with bench.http() as client:
        async with client.stream("POST", "/v1/responses", json={"input": "x", "stream": True}) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data:"):
                    response_id = json.loads(line[5:])["response"]["id"]
                    break
        await until(lambda: bench.server.records[response_id].status is Status.CANCELLED)


async def test_leaving_a_waiting_post_stops_it(bench):
    async with bench.http() as client:
        asking = asyncio.create_task(client.post("/v1/responses", json={"input": "x"}))
        claim = await bench.hand.claim()
        asking.cancel()
        await until(lambda: bench.server.records[claim.response_id].status is Status.CANCELLED)


async def test_a_stream_without_a_cursor_is_never_merged_and_one_with_it_goes_on(bench):
    async with bench.http() as client:
        created = (await client.post("/v1/responses", json={"input": "x", "background": True})).json()
        await bench.hand.answer(*"abcdef")
        whole = await events_of(client, f"/v1/responses/{created['id']}?stream=true")
        assert [event["sequence_number"] for event in whole] == list(range(14))
        tail = await events_of(client, f"/v1/responses/{created['id']}?stream=true&starting_after=6")
        assert tail == whole[7:]
        again = await events_of(client, f"/v1/responses/{created['id']}?stream=true", {"Last-Event-ID": "12"})
        assert again == whole[13:]


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


async def events_of(client, path, headers=None):
    async with client.stream("GET", path, headers=headers) as answer:
        return [json.loads(line[5:]) async for line in answer.aiter_lines() if line.startswith("data:")]
