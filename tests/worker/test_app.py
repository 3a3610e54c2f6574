"""Whole workers with the echo engine on a real server."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from unittest.mock import Mock

import pytest
from scripted_engine import ScriptedEngine
from store_bench import LEASES, eventually

from shared.log import Kind, Reason, Status, new_response_id, unescape
from shared.observe import Probes, make_logger
from shared.request import Message, Request, Sampling
from shared.settings import SettingsError
from shared.store.contract import Followed
from shared.store.gateway import RedisGatewayStore
from shared.store.link import Link
from tokenwire.valkey import answers, command, find_program
from worker.app import _beat, operate, serve
from worker.engine_thread import EngineThread
from worker.engines.contract import EngineError, Event, Stats
from worker.engines.echo import EchoEngine
from worker.engines.options import EchoOptions
from worker.settings import WorkerSettings


class Fleet:
    """Workers as tasks of the test, and a gateway's store to look at what they do."""

    def __init__(self, url: str, gateway: RedisGatewayStore) -> None:
        self.url = url
        self.gateway = gateway
        self.lines = io.StringIO()
        self.tasks: dict[str, tuple[asyncio.Task[None], asyncio.Event]] = {}

    def start(self, name: str, **settings: object) -> None:
        stop = asyncio.Event()
        made = WorkerSettings(
            redis_url=self.url,
            engine="echo",
            name=name,
            probe_port=0,
            **({"echo_rate": 0, "lease_seconds": 5, "drain_seconds": 2} | settings),
        )
        task = asyncio.create_task(serve(made, stop, make_logger("worker", self.lines, worker=name)))
        self.tasks[name] = (task, stop)

    async def stop(self, name: str) -> None:
        task, stop = self.tasks.pop(name)
        stop.set()
        await asyncio.wait_for(task, 40)

    async def submit(self, text: str, **changes: object) -> str:
        fields = {
            "response_id": new_response_id(0),
            "model": "echo",
            "principal": "alice",
            "messages": (Message("user", text),),
            "sampling": Sampling(max_tokens=12, seed=1),
            "keep": -1.0,
        }
        request = Request(**(fields | changes))
        await self.gateway.submit(request, None, 64)
        return request.response_id

    async def look(self, response_id: str) -> Followed:
        reply = await self.gateway.follow(response_id, "alice", None, -1, None)
        assert isinstance(reply, Followed)
        return reply

    async def ended(self, response_id: str) -> Followed:
        async def terminal():
            followed = await self.look(response_id)
            return followed if followed.status.terminal else None

        return await eventually(terminal)

    async def has_deltas(self, response_id: str, count: int) -> None:
        async def enough():
            return (await self.look(response_id)).last >= 4 + count

        await eventually(enough)

    def events(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.lines.getvalue().splitlines()]

    async def said(self, event: str, response_id: str) -> dict[str, object]:
        """Wait for a line about a response; return what only lines of this event hold."""

        async def line():
            found = [e for e in self.events() if (e["event"], e.get("response_id")) == (event, response_id)]
            return found[0] if found else None

        common = (
            "ts",
            "level",
            "event",
            "response_id",
            "trace_id",
            "worker",
            "process",
            "service",
            "tier",
            "time",
        )
        return {name: value for name, value in (await eventually(line)).items() if name not in common}


@pytest.fixture
async def fleet(valkey: str) -> AsyncIterator[Fleet]:
    link = Link.to(valkey)
    await link.command("FLUSHALL")
    made = Fleet(valkey, RedisGatewayStore(link, name="test", leases=LEASES))
    yield made
    for name in tuple(made.tasks):
        await made.stop(name)
    await link.close()


def text_of(followed: Followed) -> str:
    return unescape("".join(entry.text for entry in followed.entries))


def ids_of(followed: Followed) -> list[int]:
    return [i for entry in followed.entries for i in entry.ids]


async def undisturbed(fleet: Fleet, prompt: str, **changes: object) -> tuple[str, list[int]]:
    fleet.start("undisturbed")
    followed = await fleet.ended(await fleet.submit(prompt, **changes))
    await fleet.stop("undisturbed")
    return text_of(followed), ids_of(followed)


async def test_an_answer_is_computed_logged_and_ended(fleet: Fleet):
    fleet.start("worker-1")

    followed = await fleet.ended(await fleet.submit("one two three"))

    assert text_of(followed).startswith("one two three")
    assert (followed.status, followed.entries[-1].reason) == (Status.INCOMPLETE, Reason.LENGTH)
    assert len(ids_of(followed)) == 12
    assert followed.entries[2].prompt_tokens > 0


async def test_a_draining_worker_hands_over_at_once_and_the_text_goes_on(fleet: Fleet):
    sampling = Sampling(max_tokens=400, seed=1)
    expected = await undisturbed(fleet, "a b c d e", sampling=sampling)
    fleet.start("first", echo_rate=100)
    response_id = await fleet.submit("a b c d e", sampling=sampling)
    await fleet.has_deltas(response_id, 5)
    fleet.start("second")

    await fleet.stop("first")
    followed = await fleet.ended(response_id)

    assert (text_of(followed), ids_of(followed)) == expected
    assert [entry.owner for entry in followed.entries if entry.kind is Kind.HANDED] == ["second"]
    assert "released" in [event["event"] for event in fleet.events()]


async def test_a_worker_that_vanishes_is_a_pause_of_a_lease(fleet: Fleet):
    sampling = Sampling(max_tokens=400, seed=1)
    expected = await undisturbed(fleet, "a b c d e", sampling=sampling)
    fleet.start("first", echo_rate=100, lease_seconds=0.5)
    response_id = await fleet.submit("a b c d e", sampling=sampling)
    await fleet.has_deltas(response_id, 5)
    task, _ = fleet.tasks.pop("first")

    task.cancel()  # no drain: as a killed process
    with contextlib.suppress(asyncio.CancelledError):
        await task
    fleet.start("second", lease_seconds=0.5)
    followed = await fleet.ended(response_id)

    assert (text_of(followed), ids_of(followed)) == expected


async def test_a_stop_frees_the_engine_while_the_answer_runs(fleet: Fleet):
    fleet.start("worker-1", echo_rate=50, slots=1)
    stopped = await fleet.submit("long", sampling=Sampling(max_tokens=4000, seed=1))
    await fleet.has_deltas(stopped, 3)

    await fleet.gateway.cancel(stopped, "alice")
    followed = await fleet.ended(await fleet.submit("next", sampling=Sampling(max_tokens=2, seed=1)))

    assert text_of(followed).startswith("next")
    assert (await fleet.look(stopped)).status is Status.CANCELLED


async def test_every_life_can_be_read_from_the_log_lines_by_its_response_id(fleet: Fleet):
    fleet.start("worker-1")
    response_id = await fleet.submit("secret words")
    await fleet.ended(response_id)
    await fleet.stop("worker-1")

    lives = [event["event"] for event in fleet.events() if event.get("response_id") == response_id]

    assert lives == ["claimed", "first_append", "finished"]
    assert "secret" not in fleet.lines.getvalue()


async def test_the_internal_port_tells_that_it_is_ready_and_what_it_counts(fleet: Fleet):
    fleet.start("worker-1")
    response_id = await fleet.submit("a b")
    await fleet.ended(response_id)
    port = next(event["probe_port"] for event in fleet.events() if event["event"] == "ready")

    def get(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as reply:
            return reply.read().decode()

    for path in ("/livez", "/readyz"):
        assert await asyncio.to_thread(get, path) == "ok\n"
    metrics = await asyncio.to_thread(get, "/metrics")
    assert "tokenwire_generated_tokens_total 12.0" in metrics
    assert 'tokenwire_finished_total{reason="max_output_tokens"} 1.0' in metrics


async def test_a_taken_internal_port_is_said_in_a_sentence(fleet: Fleet):
    fleet.start("worker-1")

    async def ready():
        return [event["probe_port"] for event in fleet.events() if event["event"] == "ready"]

    [port] = await eventually(ready)
    settings = WorkerSettings(redis_url=fleet.url, engine="echo", probe_port=port)

    with pytest.raises(SettingsError, match=f"PROBE_PORT {port} cannot be had"):
        await serve(settings, asyncio.Event(), make_logger("worker", io.StringIO()))


async def test_a_worker_whose_engine_has_failed_goes_away_and_says_so(fleet: Fleet):
    engine = ScriptedEngine()
    engine.healthy = False
    settings = WorkerSettings(redis_url=fleet.url, probe_port=0)

    with pytest.raises(EngineError, match="start the worker again"):
        await operate(engine, settings, asyncio.Event(), make_logger("worker", io.StringIO()))


@pytest.mark.parametrize(("seconds", "beats"), [(0.0, 1), (59.0, 1), (61.0, 0)])
async def test_a_worker_whose_tokenizer_hangs_is_not_live_though_others_are_decoded(seconds, beats):
    engine, probes = ScriptedEngine(), Mock(spec=Probes)
    engine.stats = lambda: Stats(7, 1, 1, 0, 0, preparing_seconds=seconds)

    beating = asyncio.create_task(_beat(probes, engine, step_timeout=60))
    await asyncio.sleep(0)
    beating.cancel()

    assert probes.beat.call_count == beats


class Breaking(EchoEngine):
    """Breaks once it has made so many tokens, as a device does."""

    after = 3

    def step(self) -> list[Event]:
        if self.stats().generated_tokens >= self.after:
            raise RuntimeError("an illegal memory access was encountered")
        return super().step()


class BreakingAtOnce(Breaking):
    """Breaks at whatever it is to compute."""

    after = 0


async def broken(fleet: Fleet, kind: type[Breaking]) -> None:
    """Run a worker until its engine breaks."""
    engine = EngineThread(lambda: kind(EchoOptions(rate=0)))
    settings = WorkerSettings(redis_url=fleet.url, probe_port=0, lease_seconds=0.5)
    with pytest.raises(EngineError, match="an illegal memory access"):
        async with asyncio.timeout(20):
            await operate(engine, settings, asyncio.Event(), make_logger("worker", fleet.lines))


async def test_what_ran_on_an_engine_that_broke_goes_on_elsewhere(fleet: Fleet):
    sampling = Sampling(max_tokens=40, seed=1)
    expected = await undisturbed(fleet, "one two three", sampling=sampling)
    response_id = await fleet.submit("one two three", sampling=sampling)

    await broken(fleet, Breaking)
    assert (await fleet.look(response_id)).status is Status.RUNNING
    fleet.start("heir")
    followed = await fleet.ended(response_id)

    assert (text_of(followed), ids_of(followed)) == expected
    assert [entry.kind for entry in followed.entries].count(Kind.HANDED) == 1


async def test_a_prompt_that_breaks_every_engine_is_given_up(fleet: Fleet):
    response_id = await fleet.submit("one two three")
    for _ in range(3):
        await broken(fleet, BreakingAtOnce)
    fleet.start("heir")

    followed = await fleet.ended(response_id)

    assert followed.entries[-1].reason is Reason.WORKER_LOST


async def test_a_stop_in_a_long_prefill_frees_the_slot_within_a_second(fleet: Fleet):
    fleet.start("worker-1", echo_prefill_seconds=600, slots=1)
    stopped = await fleet.submit("long")
    waiting = await fleet.submit("next")
    await fleet.said("claimed", stopped)

    await fleet.gateway.cancel(stopped, "alice")
    began = time.monotonic()
    await fleet.said("claimed", waiting)

    assert time.monotonic() - began < 1.5  # half a second to name it, a step of the engine, and the claim
    assert await fleet.said("claim_lost", stopped) == {"standing": "ended"}


class Stuck(EchoEngine):
    """An engine whose second step never ends."""

    def __init__(self) -> None:
        super().__init__(EchoOptions(model="echo", slots=4, context_length=100))
        self.hangs = threading.Event()
        self.goes_on = threading.Event()

    def step(self) -> Sequence[Event]:
        if self.stats().steps:
            self.hangs.set()
            self.goes_on.wait()
        return super().step()


async def test_a_drain_hands_over_what_a_step_that_hangs_has_left_and_the_worker_goes(fleet: Fleet):
    stuck, stop = Stuck(), asyncio.Event()
    settings = WorkerSettings(redis_url=fleet.url, name="stuck", probe_port=0, lease_seconds=60)
    log = make_logger("worker", fleet.lines, worker="stuck")
    working = asyncio.create_task(operate(EngineThread(lambda: stuck), settings, stop, log))
    response_id = await fleet.submit("a b c")
    assert await asyncio.to_thread(stuck.hangs.wait, 40)
    await fleet.has_deltas(response_id, 1)

    stop.set()
    began = time.monotonic()
    await asyncio.wait_for(working, 40)

    assert time.monotonic() - began < 10
    fleet.start("heir", lease_seconds=60)
    assert text_of(await fleet.ended(response_id)) == "a b c a b c a b c a b c "
    assert {"engine_stuck", "stopped"} <= {event["event"] for event in fleet.events()}
    stuck.goes_on.set()


HUNG_WORKER = """
import sys, threading
from worker import __main__ as worker, app
from worker.engine_thread import EngineThread
from worker.engines.echo import EchoEngine

class Stuck(EchoEngine):
    def step(self):
        if self.stats().steps > 3:
            threading.Event().wait()
        return super().step()

app.make_engine = lambda _name, *, echo, **_: EngineThread(lambda: Stuck(echo))
sys.exit(worker.main())
"""


async def test_a_worker_process_whose_step_hangs_hands_over_and_exits_with_0_within_ten_seconds(fleet: Fleet):
    environ = os.environ | {"REDIS_URL": fleet.url, "ENGINE": "echo", "PROBE_PORT": "0"}
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HUNG_WORKER), env=environ, stdout=asyncio.subprocess.DEVNULL
    )
    response_id = await fleet.submit("a b", sampling=Sampling(max_tokens=4000, seed=1))
    await fleet.has_deltas(response_id, 2)

    worker.send_signal(signal.SIGTERM)
    began = time.monotonic()
    code = await asyncio.wait_for(worker.wait(), 30)

    assert (code, time.monotonic() - began < 10) == (0, True)
    fleet.start("heir", lease_seconds=60)
    await fleet.said("claimed", response_id)
    assert "heir" in [entry.owner for entry in (await fleet.look(response_id)).entries]
    await fleet.gateway.cancel(response_id, "alice")


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_worker_told_to_stop_while_redis_is_away_is_gone_within_ten_seconds_and_says_what_is_left(
    fault: signal.Signals,
):
    with tempfile.TemporaryDirectory(prefix="tw-") as folder:
        path = Path(folder) / "s"
        server = await asyncio.create_subprocess_exec(
            *command(find_program(), path), stdout=asyncio.subprocess.DEVNULL
        )
        try:
            await eventually(lambda: asyncio.to_thread(answers, path))
            async with asyncio.timeout(60):
                assert await stopped_while_away(f"unix://{path}", server, fault) < 10
        finally:
            with contextlib.suppress(ProcessLookupError):
                server.kill()
            await server.wait()


async def stopped_while_away(url: str, server: asyncio.subprocess.Process, fault: signal.Signals) -> float:
    """Give a worker process something to do, take Redis away, stop the worker; return how long that took."""
    link = Link.to(url)
    made = Fleet(url, RedisGatewayStore(link, name="test", leases=LEASES))
    environ = os.environ | {"REDIS_URL": url, "ENGINE": "echo", "PROBE_PORT": "0"}
    argv = (sys.executable, "-m", "worker")
    pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
    worker = await asyncio.create_subprocess_exec(*argv, env=environ, **pipes)
    response_id = await made.submit("a b", sampling=Sampling(max_tokens=4000, seed=1))
    await made.has_deltas(response_id, 2)
    server.send_signal(fault)
    worker.send_signal(signal.SIGTERM)
    began = time.monotonic()
    logged, said = await worker.communicate()
    assert worker.returncode == 1
    assert b'"drain_cut_short","left":1' in logged
    assert said.startswith(b"1 responses could not be handed over")
    took = time.monotonic() - began
    await link.close()  # the test's own, and the server may still stand still
    return took
