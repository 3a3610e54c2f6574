import asyncio
import json

import pytest
from gateway_bench import assert_goes_on, dialled, in_memory, slow_socket, until

from gateway import streams
from gateway.follower import State
from gateway.outbox import CEILING, LIMIT
from shared.log import Status


async def test_leaving_a_plain_stream_stops_it(bench):
    async with bench.http() as client:
        async with client.stream("POST", "/v1/responses", json={"input": "x", "stream": True}) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data:"):
                    response_id = json.loads(line[5:])["response"]["id"]
                    break
        await until(lambda: bench.server.records[response_id].status is Status.CANCELLED)


async def test_a_stream_that_has_nothing_to_say_says_that_it_is_alive(bench, monkeypatch):
    monkeypatch.setattr(streams, "QUIET_SECONDS", 0.05)
    body = {"input": "x", "stream": True}
    async with bench.http() as client, client.stream("POST", "/v1/responses", json=body) as answer:
        lines = answer.aiter_lines()
        comments = 0
        while comments < 3:
            comments += (await anext(lines)).startswith(":")
        await bench.hand.answer("a", "b")
        told = [json.loads(line[5:]) async for line in lines if line.startswith("data:")]
    assert "".join(event.get("delta", "") for event in told) == "ab"
    assert told[-1]["type"] == "response.completed"


async def test_a_stream_without_a_cursor_is_never_merged_and_one_with_it_goes_on(bench):
    async with bench.http() as client:
        created = (await client.post("/v1/responses", json={"input": "x", "background": True})).json()
        await bench.hand.answer(*"abcdef")
        whole = await events_of(client, f"/v1/responses/{created['id']}?stream=true")
        assert [event["sequence_number"] for event in whole] == list(range(14))
        tail = await events_of(client, f"/v1/responses/{created['id']}?stream=true&starting_after=6")
        assert_goes_on(tail, 6, whole, "abcdef")
        assert tail[0]["first_sequence_number"] == 7
        again = await events_of(client, f"/v1/responses/{created['id']}?stream=true", {"Last-Event-ID": "12"})
        assert again == whole[13:]


async def events_of(client, path, headers=None):
    async with client.stream("GET", path, headers=headers) as answer:
        return [json.loads(line[5:]) async for line in answer.aiter_lines() if line.startswith("data:")]


async def test_a_stalled_server_sent_stream_costs_bounded_bytes_that_the_metrics_show():
    async with in_memory() as bench:
        raw = slow_socket(bench.gateway.port)
        async with dialled(bench, sock=raw, limit=1024) as (_, writer):
            body = b'{"input":"x","stream":true,"keep":0}'
            head = b"POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n"
            writer.write(head % len(body) + body)
            claim = await bench.hand.claim()
            writer.transport.pause_reading()
            await until(
                lambda: [each.follower.state for each in bench.gateway.hub.attachments] == [State.LIVE]
            )
            waiting = []
            for _ in range(400):
                await bench.hand.say(claim, "x" * 8000)
                await asyncio.sleep(0)
                waiting.append(bench.metric("outbox_bytes"))
            assert LIMIT < max(waiting) <= CEILING + 9000
            assert bench.metric("merged_deltas_total") > 0
            writer.transport.abort()
            await until(lambda: not list(bench.gateway.hub.attachments))
            assert bench.metric("outbox_bytes") == 0
            assert bench.metric("slow_client_closes_total") == 1
        # It was cut by us, so it may come back although its response is kept for nobody.
        assert not bench.server.records[claim.response_id].status.terminal


CREATE = (b"/v1/responses", b'{"input":"x","stream":true}')
CHAT = (b"/v1/chat/completions", b'{"messages":[{"role":"user","content":"x"}],"stream":true}')


@pytest.mark.parametrize(
    ("asked", "status"), [(CREATE, Status.RUNNING), (CHAT, Status.CANCELLED)], ids=["events", "chunks"]
)
async def test_a_stalled_server_sent_stream_is_cut_and_ended_if_it_cannot_be_resumed(
    monkeypatch, asked, status
):
    monkeypatch.setattr(streams, "PATIENCE", 0.2)
    path, body = asked
    async with in_memory() as bench:
        raw = slow_socket(bench.gateway.port)
        async with dialled(bench, sock=raw, limit=1024) as (_, writer):
            head = b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n"
            writer.write(head % (path, len(body)) + body)
            claim = await bench.hand.claim()
            writer.transport.pause_reading()
            await bench.hand.say(claim, *["x" * 1000] * 6000)
            await until(lambda: bench.metric("slow_client_closes_total") == 1)
            await until(lambda: not list(bench.gateway.hub.attachments))
            assert bench.metric("connections", door="sse") == 0
        await until(lambda: bench.server.records[claim.response_id].status is status)
