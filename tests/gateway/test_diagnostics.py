import json

from gateway_bench import until


async def streamed(bench, query="", **headers):
    async with (
        bench.http() as client,
        client.stream("GET", f"/v1/diagnostics{query}", headers=headers) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        return [json.loads(line[5:]) async for line in answer.aiter_lines() if line.startswith("data:")]


async def test_events_come_at_the_pace_asked_for_and_say_when_they_were_sent(bench):
    arrived, *paced = await streamed(bench, "?events=4&interval_ms=20")
    assert arrived["type"] == "arrived"
    assert [event["number"] for event in paced] == [1, 2, 3, 4]
    for number, event in enumerate(paced, 1):
        assert event["at"] > number * 0.02 - 0.005


async def test_what_arrived_is_said_but_never_a_credential(bench):
    headers = {"x-forwarded-for": "192.0.2.7", "authorization": "Bearer secret", "cookie": "secret=1"}
    arrived, *_ = await streamed(bench, "?events=1&interval_ms=1", **headers)
    assert arrived["headers"]["x-forwarded-for"] == "192.0.2.7"
    assert arrived["headers"]["host"] == bench.authority
    assert arrived["peer"].startswith("127.0.0.1:")
    assert "secret" not in json.dumps(arrived)


async def test_what_is_asked_is_bounded(bench):
    async with bench.http() as client:
        for query in ("events=21", "events=0", "interval_ms=251", "interval_ms=x"):
            answer = await client.get(f"/v1/diagnostics?{query}")
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, query.partition("=")[0])


async def test_who_leaves_early_costs_nothing_more(bench):
    async with bench.http() as client, client.stream("GET", "/v1/diagnostics?events=20&interval_ms=250"):
        pass
    await until(lambda: not bench.gateway._door._state.tasks, 4)  # by itself it would end after five seconds
