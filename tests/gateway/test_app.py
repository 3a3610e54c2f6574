"""A gateway over the real server: in this process with a worker moved by hand, and as a process."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import urllib.error
import urllib.request

import pytest
from cuttable import cuttable
from gateway_bench import PATIENCE, Client, Hand, assert_contiguous, in_memory, text_of, until
from gateway_fleet import hand_on, on_server
from openai import AsyncOpenAI
from websockets.asyncio.client import connect

from gateway.app import Gateway
from gateway.door import Door
from shared.lifecycle import EXIT_FORCED
from shared.log import Reason
from shared.store.contract import WorkerInfo
from shared.store.link import Link


async def test_the_whole_path_stands_on_a_real_server(valkey):
    async with on_server(valkey) as (bench,), bench.sdk() as client, client.responses.connect() as connection:
        await connection.response.create(model="tiny", input="Hello")
        claim = await bench.hand.claim()
        texts = [f"{n} " for n in range(50)]
        await bench.hand.say(claim, *texts)
        await bench.hand.finish(claim)
        events = []
        async for event in connection:
            events.append(event)
            if event.type == "response.completed":
                break
        assert [event.sequence_number for event in events] == list(range(58))
        assert "".join(e.delta for e in events if e.type.endswith("text.delta")) == "".join(texts)
        assert events[-1].response.output_text == "".join(texts)


async def test_a_cut_subscriber_link_is_healed_from_the_log(valkey):
    async with on_server(valkey) as (bench,), bench.client() as client:
        await client.create()
        claim = await bench.hand.claim()
        await client.until("response.content_part.added")
        killer = Link.to(valkey)
        for n in range(20):
            await bench.hand.say(claim, f"{n};")
            if n % 5 == 2:
                await killer.command("CLIENT", "KILL", "TYPE", "PUBSUB")
        await killer.close()
        await bench.hand.finish(claim)
        events = await client.until("response.completed")
        assert_contiguous(events, 4)
        assert text_of(events) == "".join(f"{n};" for n in range(20))


async def test_cancel_fences_the_worker_and_ends_at_once(valkey):
    async with on_server(valkey) as (bench,), bench.client() as client:
        await client.create()
        claim = await bench.hand.claim()
        await bench.hand.say(claim, "a")
        await client.until("response.output_text.delta")
        await client.send(type="response.cancel")
        last = (await client.until("response.incomplete"))[-1]
        await bench.hand.say(claim, "zombie")
        await bench.hand.finish(claim, Reason.STOP)
        assert last["response"]["output"][0]["content"][0]["text"] == "a"
        async with bench.client(f"?response_id={claim.response_id}") as again:
            assert (await again.until("response.incomplete"))[-1] == last


async def test_a_response_ends_in_time_although_the_last_worker_has_retired(valkey):
    async with on_server(valkey, queue_seconds=0.2) as (bench,), bench.client() as client:
        await client.create()
        await client.until("response.created")
        await bench.hand.store.retire()
        last = (await client.until("response.failed"))[-1]
        assert last["response"]["error"]["code"] == "queue_timeout"


class Process:
    """``python -m gateway`` and what it says."""

    def __init__(self, process):
        self.process = process
        self.said = []

    async def says(self, event):
        """Wait for a log line."""
        async with asyncio.timeout(30):
            while True:
                raw = await self.process.stdout.readline()
                assert raw, "the gateway ended"
                self.said.append(json.loads(raw))
                if self.said[-1]["event"] == event:
                    return self.said[-1]


@contextlib.asynccontextmanager
async def gateway_process(url, **env):
    environ = os.environ | {"REDIS_URL": url, "PORT": "0", "DRAIN_SECONDS": "0.1"} | env
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway"), env=environ, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def probe(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def test_one_gateway_is_killed_and_another_goes_on_and_drains(valkey):
    async with (
        hand_on(valkey) as store,
        gateway_process(valkey) as first,
        gateway_process(valkey) as second,
    ):
        hand = Hand(store, WorkerInfo("worker-1", "tiny", "build", 512, 4))
        await hand.announce()
        probes = (await second.says("probing"))["port"]
        ports = [(await each.says("listening"))["port"] for each in (first, second)]
        async with connect(f"ws://127.0.0.1:{ports[0]}/v1/responses") as connection:
            client = Client(connection)
            await client.create()
            claim = await hand.claim()
            await hand.say(claim, "a", "b")
            before = await client.until("response.output_text.delta")
            first.process.kill()
            assert await client.closed() == 1006
        query = f"response_id={claim.response_id}&starting_after={before[-1]['sequence_number']}"
        async with connect(f"ws://127.0.0.1:{ports[1]}/v1/responses?{query}") as connection:
            client = Client(connection)
            await hand.say(claim, "c")
            after = await client.until("response.output_text.delta")
            while text_of(before + after) != "abc":
                after.append(await client.event())
            assert_contiguous(before + after)
            status, metrics = await asyncio.to_thread(probe, probes, "/metrics")
            assert status == 200
            assert 'tokenwire_connections{door="websocket"} 1.0' in metrics
            assert (await asyncio.to_thread(probe, probes, "/readyz"))[0] == 200
            assert (await asyncio.to_thread(probe, probes, "/livez"))[0] == 200
            second.process.send_signal(signal.SIGTERM)
            assert await client.closed() == 1012
        assert await second.process.wait() == 0


async def test_sigterm_shows_at_readyz_first_and_a_second_one_cuts(valkey):
    async with hand_on(valkey) as store, gateway_process(valkey, ROUTING_SECONDS="60") as gateway:
        await Hand(store, WorkerInfo("worker-1", "tiny", "build", 512, 4)).announce()
        probes = (await gateway.says("probing"))["port"]
        port = (await gateway.says("listening"))["port"]
        assert (await asyncio.to_thread(probe, probes, "/readyz"))[0] == 200
        gateway.process.send_signal(signal.SIGTERM)
        await gateway.says("draining")
        assert (await asyncio.to_thread(probe, probes, "/readyz"))[0] == 503
        assert (await asyncio.to_thread(probe, probes, "/livez"))[0] == 200
        async with connect(f"ws://127.0.0.1:{port}/v1/responses") as connection:
            client = Client(connection)
            await client.create()
            assert (await client.event())["type"] == "response.created"
            await asyncio.sleep(1.1)  # sooner, a second signal is taken for the first one again
            gateway.process.send_signal(signal.SIGTERM)
            assert await client.closed() != 1000
        async with asyncio.timeout(PATIENCE):
            assert await gateway.process.wait() == EXIT_FORCED


async def test_the_sdk_goes_on_at_another_gateway_when_its_own_is_killed(valkey):
    async with (
        hand_on(valkey) as store,
        gateway_process(valkey) as first,
        gateway_process(valkey) as second,
    ):
        hand = Hand(store, WorkerInfo("worker-1", "tiny", "build", 512, 4))
        await hand.announce()
        ports = [(await each.says("listening"))["port"] for each in (first, second)]
        seen = []

        def on_reconnecting(_):
            cursor = {"response_id": seen[0].response.id, "starting_after": str(seen[-1].sequence_number)}
            return {"extra_query": cursor}

        async with (
            cuttable(ports[0]) as balancer,
            AsyncOpenAI(base_url=f"{balancer.url}/v1", api_key="x") as client,
            client.responses.connect(on_reconnecting=on_reconnecting, initial_delay=0.01) as connection,
        ):
            await connection.response.create(model="tiny", input="Hello")
            claim = await hand.claim()
            await hand.say(claim, "a", "b")
            async with asyncio.timeout(20):
                async for event in connection:
                    seen.append(event)
                    if event.type == "response.output_text.delta" and first.process.returncode is None:
                        balancer.target = ports[1]
                        first.process.kill()
                        await first.process.wait()
                        await hand.say(claim, "c")
                        await hand.finish(claim)
                    if event.type == "response.completed":
                        break
        events = [event.to_dict() for event in seen]
        assert_contiguous(events)
        assert text_of(events) == seen[-1].response.output_text == "abc"


async def test_a_store_that_is_not_there_means_not_ready_and_a_clear_refusal():
    async with gateway_process("unix:///nonexistent/valkey.sock") as gateway:
        probes = (await gateway.says("probing"))["port"]
        port = (await gateway.says("listening"))["port"]
        status, sentence = await asyncio.to_thread(probe, probes, "/readyz")
        assert status == 503
        assert "store" in sentence
        async with connect(f"ws://127.0.0.1:{port}/v1/responses") as connection:
            client = Client(connection)
            await client.create()
            assert (await client.event())["error"]["code"] == "backend_unavailable"


@pytest.mark.parametrize(
    ("env", "words"),
    [({"PORT": "many"}, "PORT"), ({"HOST": "0.0.0.0"}, "DEV_OPEN"), ({"PORT": "1x"}, "whole number")],
)
async def test_bad_settings_are_one_clear_sentence(env, words):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway"), env=os.environ | env, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == 2
    assert words in said.decode()
    assert "Traceback" not in said.decode()


@pytest.mark.parametrize("setting", ["PORT", "PROBE_PORT"])
async def test_a_taken_port_is_one_clear_sentence(valkey, free_port, setting):
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", free_port)
    env = os.environ | {"PORT": "0", "REDIS_URL": valkey, setting: str(free_port)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway"),
        env=env,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    taken.close()
    await taken.wait_closed()
    assert process.returncode == 2
    [line] = said.decode().splitlines()
    assert line.startswith(
        f"{setting} {free_port} cannot be had on 127.0.0.1 (Address already in use): choose another"
    )


async def test_two_gateways_share_a_port(valkey, free_port):
    env = {"PORT": str(free_port), "REUSE_PORT": "1"}
    async with gateway_process(valkey, **env) as first, gateway_process(valkey, **env) as second:
        assert (await first.says("listening"))["port"] == free_port
        assert (await second.says("listening"))["port"] == free_port


async def test_nothing_is_left_after_many_responses(valkey):
    async with on_server(valkey) as (bench,), bench.client() as client:
        for n in range(10):
            await client.create(stream_id=f"lane-{n}")
            await bench.hand.answer("x")
            await client.until("response.completed")
        await until(lambda: not list(bench.gateway.hub.attachments))
        assert bench.metric("requests_total", outcome="completed") == 10
        looker = Link.to(valkey)
        for key in await looker.command("KEYS", "*resp_*"):
            assert await looker.command("PTTL", key) > 0
        await looker.close()


async def test_a_gateway_is_not_ready_before_its_door_is_open(monkeypatch):
    made, said = [], []
    begin, listen = Gateway.start, Door.start

    async def start(gateway, live):
        made.append(gateway)
        await begin(gateway, live)

    async def opened(door, *place, **options):
        said.append(made[0].ready())
        return await listen(door, *place, **options)

    monkeypatch.setattr(Gateway, "start", start)
    monkeypatch.setattr(Door, "start", opened)
    async with in_memory():
        assert said == ["The gateway has not started yet."]
        assert made[0].ready() is None
