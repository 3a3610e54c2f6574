"""The HTTP twins on the same port and the same log."""

import asyncio

from conformance_kit import (
    NOBODY,
    TERMINAL,
    contiguous,
    described,
    id_of,
    orderly,
    sse,
    streamed,
    text_of,
)


async def until_status(http, response_id, *statuses):
    async with asyncio.timeout(30):
        while True:
            response = (await http.get(f"/v1/responses/{response_id}")).json()
            if response["status"] in statuses:
                return response
            await asyncio.sleep(0.02)  # polling is what this door offers


async def test_a_plain_request_waits_for_the_whole_response(target):
    async with target.http() as http:
        answer = await http.post("/v1/responses", json=target.asked)
        assert answer.status_code == 200
        described("response", answer.json())
        again = await http.get(f"/v1/responses/{answer.json()['id']}")
    assert again.json() == answer.json()
    assert answer.json()["output"][0]["content"][0]["text"]


async def test_a_stream_is_the_sockets_events_each_with_its_id(target):
    async with target.http() as http:
        events = await streamed(http, "POST", "/v1/responses", json=target.asked | {"stream": True})
    orderly([event.data for event in events])
    assert [event.name for event in events] == [event.data["type"] for event in events]
    assert [event.number for event in events] == [str(event.data["sequence_number"]) for event in events]
    assert text_of([event.data for event in events]) == await stored_text(target, events)


async def stored_text(target, events):
    stored = await target.stored(id_of([event.data for event in events]))
    return stored["output"][0]["content"][0]["text"]


async def test_a_stream_is_not_cached_or_buffered_on_its_way(target):
    body = target.asked | {"stream": True}
    async with target.http() as http, http.stream("POST", "/v1/responses", json=body) as answer:
        await answer.aread()
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"


async def test_a_background_response_is_promised_polled_and_read_again(target):
    async with target.http() as http:
        promised = (await http.post("/v1/responses", json=target.asked | {"background": True})).json()
        described("response", promised)
        assert promised["status"] in ("queued", "in_progress")
        final = await until_status(http, promised["id"], "completed", "incomplete")
        events = await streamed(http, "GET", f"/v1/responses/{promised['id']}?stream=true")
    orderly([event.data for event in events])
    assert events[-1].data["response"] == final


async def test_a_background_stream_left_at_its_first_event_goes_on(target):
    async with target.http() as http:
        body = target.asked | {"background": True, "stream": True}
        async with http.stream("POST", "/v1/responses", json=body) as answer:
            first = await anext(sse(answer))
        final = await until_status(http, first.data["response"]["id"], "completed", "incomplete")
    assert final["usage"]["output_tokens"] == target.asked["max_output_tokens"]


async def test_a_plain_stream_that_is_left_is_cancelled(target):
    async with target.http() as http:
        async with http.stream(
            "POST", "/v1/responses", json=target.asked | {"max_output_tokens": 2_000, "stream": True}
        ) as answer:
            first = await anext(sse(answer))
        final = await until_status(http, first.data["response"]["id"], "cancelled")
    assert final["usage"]["output_tokens"] < 2_000


async def test_a_stream_goes_on_after_any_number(target):
    async with target.http() as http:
        response = (await http.post("/v1/responses", json=target.asked)).json()
        path = f"/v1/responses/{response['id']}?stream=true"
        whole = [event.data for event in await streamed(http, "GET", path)]
        for after in range(-1, whole[-1]["sequence_number"]):
            query = [event.data for event in await streamed(http, "GET", f"{path}&starting_after={after}")]
            header = await streamed(http, "GET", path, headers={"Last-Event-ID": str(after)})
            for events in (query, [event.data for event in header]):
                contiguous(events, after + 1)
                rest = [event for event in whole if event["sequence_number"] > after]
                assert text_of(events) == text_of(rest)
                assert events[-1] == whole[-1]


async def test_a_replay_without_a_cursor_is_never_merged(target):
    async with target.http() as http:
        response = (await http.post("/v1/responses", json=target.asked)).json()
        events = await streamed(http, "GET", f"/v1/responses/{response['id']}?stream=true")
    numbers = [event.data["sequence_number"] for event in events]
    assert numbers == list(range(len(events)))


async def test_a_cursor_that_is_none_or_beyond_the_log_is_refused(target):
    async with target.http() as http:
        response = (await http.post("/v1/responses", json=target.asked)).json()
        path = f"/v1/responses/{response['id']}?stream=true&starting_after="
        for cursor, code in (("x", "invalid_request"), ("9999", "starting_after_out_of_range")):
            answer = await http.get(path + cursor)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


async def test_cancel_ends_a_response_and_may_be_repeated(target):
    async with target.http() as http, target.socket() as socket:
        await socket.create(2_000)
        events = await socket.until("response.output_text.delta")
        first = await http.post(f"/v1/responses/{id_of(events)}/cancel")
        again = await http.post(f"/v1/responses/{id_of(events)}/cancel")
        events += await socket.until(*TERMINAL)
    orderly(events)
    assert first.json() == again.json() == events[-1]["response"]
    assert first.json()["status"] == "cancelled"


async def test_cancel_of_a_finished_response_returns_it(target):
    async with target.http() as http:
        response = (await http.post("/v1/responses", json=target.asked)).json()
        answer = await http.post(f"/v1/responses/{response['id']}/cancel")
    assert (answer.status_code, answer.json()) == (200, response)


async def test_the_same_idempotency_key_is_the_same_response(target):
    body = target.asked | {"idempotency_key": f"conformance-{asyncio.get_running_loop().time()}"}
    async with target.http() as http:
        one, other = await asyncio.gather(*(http.post("/v1/responses", json=body) for _ in range(2)))
    assert one.json() == other.json()


async def test_a_socket_follows_what_http_asked_for(target):
    async with target.http() as http:
        promised = (await http.post("/v1/responses", json=target.asked | {"background": True})).json()
    async with target.socket() as socket:
        await socket.send("response.resume", response_id=promised["id"])
        orderly(await socket.until(*TERMINAL))


async def test_models_are_listed(target):
    async with target.http() as http:
        listing = (await http.get("/v1/models")).json()
        assert listing["object"] == "list"
        for model in listing["data"]:
            assert (model["object"], type(model["created"])) == ("model", int)
            assert (await http.get(f"/v1/models/{model['id']}")).json() == model


async def test_a_body_too_large_is_refused(target):
    async with target.http() as http:
        answer = await http.post("/v1/responses", json={"input": "x" * 300_000})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "message_too_large")


async def test_head_is_get_without_a_body_and_options_says_what_a_path_takes(target):
    async with target.http() as http:
        response = (await http.post("/v1/responses", json=target.asked)).json()
        for path in (
            "/v1/models",
            f"/v1/responses/{response['id']}",
            f"/v1/responses/{response['id']}?stream=true",
        ):
            answer = await http.head(path)
            assert (answer.status_code, answer.content) == (200, b"")
        assert (await http.head(f"/v1/responses/{NOBODY}")).status_code == 404
        told = await http.options("/v1/responses")
        assert told.status_code == 204
        assert {"GET", "POST"} <= set(told.headers["allow"].split(", "))
        refused = await http.patch("/v1/responses")
        assert (refused.status_code, refused.headers["allow"]) == (405, told.headers["allow"])


async def test_a_foreign_page_is_told_nothing(target):
    asks = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    async with target.http() as http:
        preflight = await http.options("/v1/responses", headers=asks)
        direct = await http.get("/v1/models", headers={"Origin": "https://evil.example"})
    for answer in (preflight, direct):
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "origin_not_allowed"
        assert "access-control-allow-origin" not in answer.headers


async def test_the_document_that_it_shows_tells_of_what_it_answers(target):
    async with target.http() as http:
        document = (await http.get("/v1/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    assert {"/v1/responses", "/v1/chat/completions", "/v1/completions", "/v1/models"} <= document[
        "paths"
    ].keys()
