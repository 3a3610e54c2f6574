import asyncio
import functools
import json
import random

import httpx2 as httpx
import pytest
from gateway_bench import assert_contiguous, assert_goes_on, in_memory, text_of, until
from gateway_fleet import on_server
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import InvalidStatus

from gateway.drain import Drain, moments
from shared.log import Status


@given(st.integers(0, 300), st.floats(0, 60), st.randoms(use_true_random=False))
def test_each_part_of_the_time_has_one_moment(count, seconds, dice):
    found = moments(count, seconds, dice.random)
    assert len(found) == count
    part = seconds / max(1, count)
    for at, moment in enumerate(found):
        assert at * part <= moment + 1e-9
        assert moment <= (at + 1) * part + 1e-9


class Guest:
    def __init__(self, stays=False):
        self.drained = 0
        self.stays = stays

    def drain(self):
        self.drained += 1


async def test_everybody_is_sent_away_once_and_the_late_at_once():
    drain, guests = Drain(), [Guest() for _ in range(20)]
    for guest in guests:
        drain.add(guest)
    drain.discard(guests[0])
    await drain.send_away(0.02, random.Random(1).random)
    late = Guest()
    drain.add(late)
    assert [guest.drained for guest in [*guests, late]] == [0, *[1] * 20]


async def test_who_could_not_go_on_elsewhere_stays_to_the_end_of_the_time():
    drain, staying, going = Drain(), Guest(stays=True), Guest()
    drain.add(staying)
    drain.add(going)
    leaving = asyncio.create_task(drain.send_away(1.0, lambda: 0.0))  # who may go does so at once
    await until(lambda: going.drained)
    late = Guest(stays=True)
    drain.add(late)
    assert (staying.drained, late.drained) == (0, 0)
    await leaving
    assert (staying.drained, late.drained, going.drained) == (1, 1, 1)


async def test_nobody_waits_for_a_time_in_which_nobody_stays():
    drain, staying = Drain(), Guest(stays=True)
    drain.add(staying)
    leaving = asyncio.create_task(drain.send_away(3600))
    await until(lambda: drain.begun)
    drain.discard(staying)
    async with asyncio.timeout(20):
        await leaving
    assert staying.drained == 0


@pytest.mark.parametrize("stream", [True, False])
async def test_a_chat_that_ends_within_the_time_is_whole(stream):
    body = {"messages": [{"role": "user", "content": "x"}], "stream": stream}
    async with in_memory(drain_seconds=30.0) as bench, bench.http() as http:
        asking = asyncio.create_task(http.post("/v1/chat/completions", json=body))
        claim = await bench.hand.claim()
        await bench.hand.say(claim, "a")
        await until(lambda: len(bench.gateway._drain) == 1)
        stopping = asyncio.create_task(bench.gateway.stop())
        await until(lambda: bench.gateway._drain.begun)
        await bench.hand.say(claim, "b")
        await bench.hand.finish(claim)
        answer = (await asking).text
        await stopping
    assert answer.endswith("data: [DONE]\n\n") if stream else '"content":"ab"' in answer


async def test_during_the_routing_time_it_is_not_ready_and_still_takes_everything():
    async with in_memory(routing_seconds=3.0) as bench:
        stopping = asyncio.create_task(bench.gateway.stop())
        await until(lambda: bench.gateway.ready() is not None)
        async with bench.client() as client, bench.http() as http:
            await client.create()
            claim = await bench.hand.answer("a")
            assert text_of(await client.until("response.completed")) == "a"
            answer = await http.post("/v1/responses", json={"input": "x", "background": True})
            assert answer.status_code == 200
            assert "connection" not in answer.headers
            assert bench.server.records[claim.response_id].status is Status.COMPLETED
            assert await client.closed() == 1012
        await stopping


def drawing(monkeypatch, bench, number):
    """Let the gateway draw this number for each of its guests: where in its part of the time it goes."""
    drain = bench.gateway._drain
    monkeypatch.setattr(drain, "send_away", functools.partial(drain.send_away, draw=lambda: number))


async def test_new_sockets_and_streams_during_the_drain_are_told_to_come_back(monkeypatch):
    async with in_memory(drain_seconds=3.0) as bench, bench.client(), bench.client(), bench.http() as http:
        drawing(monkeypatch, bench, 0.9)
        stopping = asyncio.create_task(bench.gateway.stop())
        await until(lambda: bench.gateway._drain.begun)
        with pytest.raises(InvalidStatus) as caught:
            async with bench.client():
                pass
        refusal = caught.value.response
        assert (refusal.status_code, refusal.headers["Retry-After"]) == (503, "1")
        assert json.loads(refusal.body)["error"]["code"] == "server_draining"
        answer = await http.post("/v1/responses", json={"input": "x", "stream": True})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        models = await http.get("/v1/models")
        assert (models.status_code, models.headers["connection"]) == (200, "close")
        await stopping


async def test_sockets_go_one_after_the_other_and_never_as_if_they_were_done(monkeypatch):
    async with in_memory(drain_seconds=1.5) as bench:
        drawing(monkeypatch, bench, 0.5)
        async with bench.client() as first, bench.client() as second, bench.client() as third:
            for client in (first, second, third):
                await client.create()
                await bench.hand.claim()
                await client.until("response.content_part.added")
            await bench.gateway.stop()
            codes = [await client.closed() for client in (first, second, third)]
            reasons = {client.connection.close_reason for client in (first, second, third)}
        assert (codes, reasons) == ([1012] * 3, {"restarting; resumable"})
        at = sorted(line["ts"] for line in bench.lines("socket_closed"))
        assert at[0] < at[1] < at[2]


async def test_a_create_that_meets_the_drain_is_told_its_id_first(monkeypatch):
    async with in_memory() as bench, bench.client() as client:
        submit, may_go = bench.store.submit, asyncio.Event()

        async def slow(*arguments):
            await may_go.wait()
            return await submit(*arguments)

        monkeypatch.setattr(bench.store, "submit", slow)
        await client.create()
        await until(lambda: any(state.running for state in session_of(bench)._lanes.values()))
        stopping = asyncio.create_task(bench.gateway.stop())
        await until(lambda: session_of(bench)._drained is not None)
        may_go.set()
        assert (await client.event())["type"] == "response.created"
        assert await client.closed() == 1012
        await stopping


def session_of(bench):
    (socket,) = bench.gateway._sockets._open
    return socket._session


async def test_a_drain_is_no_leave_so_that_a_response_kept_for_nobody_goes_on_elsewhere(valkey):
    async with on_server(valkey, gateways=2) as (first, second):
        async with first.client() as client:
            await client.create(keep=0)
            claim = await first.hand.claim()
            await first.hand.say(claim, "a", "b")
            before = await client.until("response.output_text.delta")
            await first.gateway.stop()
            assert await client.closed() == 1012
        last = before[-1]["sequence_number"]
        await first.hand.say(claim, "c")
        async with second.client(f"?response_id={claim.response_id}&starting_after={last}") as client:
            await first.hand.finish(claim)
            after = await client.until("response.completed")
        assert_contiguous(before + after)
        assert text_of(before + after) == "abc"


async def read(asking, seen, gateway):
    """Read the events of a stream; after the second one the gateway is stopped."""
    async with asking as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data:"):
                seen.append(json.loads(line[5:]))
                if len(seen) == 2:
                    stopping = asyncio.create_task(gateway.stop())
    await stopping


async def test_a_server_sent_stream_is_cut_so_that_its_client_sees_it_and_goes_on_elsewhere(valkey):
    async with on_server(valkey, gateways=2) as (first, second):
        before = []
        async with first.http() as http:
            asking = http.stream("POST", "/v1/responses", json={"input": "x", "stream": True, "keep": 0})
            answering = asyncio.create_task(first.hand.claim())
            with pytest.raises(httpx.RemoteProtocolError):
                await read(asking, before, first.gateway)
            claim = await answering
        await first.hand.say(claim, "a", "b")
        await first.hand.finish(claim)
        last = before[-1]["sequence_number"]
        path = f"/v1/responses/{claim.response_id}"
        async with second.http() as http:
            async with http.stream("GET", f"{path}?stream=true&starting_after={last}") as answer:
                after = [json.loads(line[5:]) async for line in answer.aiter_lines() if line[:5] == "data:"]
            whole = (await http.get(path)).json()
        assert_contiguous(before + after)
        assert text_of(before + after) == "ab"
        assert whole["status"] == "completed"


@pytest.mark.parametrize("key", [None, "once"])
async def test_a_waiting_post_is_told_to_ask_again_and_its_key_leads_back(valkey, key):
    async with on_server(valkey, gateways=2) as (first, second), first.http() as http, second.http() as other:
        body = {"input": "x"} | ({"idempotency_key": key} if key else {})
        asking = asyncio.create_task(http.post("/v1/responses", json=body))
        claim = await first.hand.claim()
        await first.hand.say(claim, "a")
        await until(lambda: len(first.gateway._drain))
        await first.gateway.stop()
        refusal = await asking
        assert (refusal.status_code, refusal.headers["retry-after"]) == (503, "1")
        if key is None:  # nobody can ever ask for it again
            left = (await other.get(f"/v1/responses/{claim.response_id}")).json()
            assert left["status"] == "cancelled"
            return
        again = asyncio.create_task(other.post("/v1/responses", json=body))
        await until(lambda: len(second.gateway._drain))
        await first.hand.finish(claim)
        answer = (await again).json()
        assert (answer["id"], answer["status"]) == (claim.response_id, "completed")


async def test_a_client_that_leaves_before_its_turn_has_left():
    async with in_memory(drain_seconds=0.3) as bench, bench.client() as other:
        async with bench.client() as client:
            await client.create(keep=0)
            claim = await bench.hand.claim()
        await until(lambda: bench.server.records[claim.response_id].status is Status.CANCELLED)
        await bench.gateway.stop()
        assert await other.closed() == 1012


async def test_a_resumed_stream_is_cut_by_the_drain_too(bench):
    async with bench.http() as http:
        created = (await http.post("/v1/responses", json={"input": "x", "background": True})).json()
        claim = await bench.hand.claim()
        await bench.hand.say(claim, "a", "b")
        seen = []
        asking = http.stream("GET", f"/v1/responses/{created['id']}?stream=true&starting_after=2")
        with pytest.raises(httpx.RemoteProtocolError):
            await read(asking, seen, bench.gateway)
        assert_goes_on(seen, 2, seen[:1], "ab")
        assert not bench.lines("library")
