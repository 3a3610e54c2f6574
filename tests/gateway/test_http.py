from gateway_bench import in_memory

from gateway.http import BODY_BYTES


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
