import asyncio
import contextlib
import functools
import json

import pytest
from gateway_bench import PATIENCE as LONG
from gateway_bench import assert_contiguous, dialled, in_memory, slow_socket, text_of, until
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from raw_wire import frame, upgrade
from websockets.asyncio.client import connect

from gateway import connection, sender
from gateway.metrics import Metrics, value_of
from gateway.outbox import CEILING, LIMIT, PATIENCE, Outbox
from gateway.render import DeltaFrame
from gateway.sender import Sender

FRAME = DeltaFrame("resp_1", 1)


class Socket:
    """A transport that takes ``room`` frames, then none until it is writable again."""

    def __init__(self):
        self.on_writable = None
        self.room = 1_000_000
        self.written = []

    @property
    def paused(self):
        return self.room <= 0

    def write_text(self, payload):
        self.room -= 1
        self.written.append(json.loads(payload))

    def takes(self, room):
        self.room = room
        if room and self.on_writable is not None:
            self.on_writable()


class Scene:
    def __init__(self):
        self.now = 0.0
        self.cuts = 0
        self.socket = Socket()
        self.metrics = Metrics(CollectorRegistry())
        self.sender = Sender(self.socket, lambda: self.now, self.metrics, self._cut)

    def _cut(self):
        self.cuts += 1

    def say(self, number, text=b"x"):
        self.sender.delta("a", FRAME, number, text)

    @property
    def text(self):
        return "".join(event.get("delta", "") for event in self.socket.written)


@pytest.fixture
def scene():
    return Scene()


def test_a_transport_that_takes_bytes_gets_them_at_once(scene):
    scene.say(0)
    scene.sender.joined("a", FRAME, 1, 2, b"yz")
    scene.sender.event("a", b'{"type":"any"}')
    assert [event["type"] for event in scene.socket.written][-1] == "any"
    assert (scene.text, scene.sender.waits) == ("xyz", False)
    assert value_of(scene.metrics.outbox_bytes) == 0


def test_nothing_overtakes_what_waits(scene):
    scene.socket.room = 0
    scene.say(0, b"a")
    assert scene.sender.waits
    assert value_of(scene.metrics.outbox_bytes) > 0
    scene.socket.room = 9  # it would take bytes, but has not said so yet
    scene.say(1, b"b")
    assert scene.text == ""
    scene.socket.takes(9)
    scene.say(2, b"c")
    assert scene.text == "abc"
    assert value_of(scene.metrics.outbox_bytes) == 0


@settings(deadline=None)  # all metrics are made for each: a busy machine takes its time
@given(st.lists(st.one_of(st.integers(0, 3), st.sampled_from("adj")), max_size=60))
def test_whatever_the_transport_takes_and_when_all_goes_out_once_in_order(steps):
    scene = Scene()
    sent = 0
    for step in steps:
        match step:
            case "a":
                scene.sender.event("a", b'{"type":"any"}')
            case "d":
                scene.say(sent, b"%d;" % sent)
                sent += 1
            case "j":
                scene.sender.joined("a", FRAME, sent, sent + 1, b"%d;%d;" % (sent, sent + 1))
                sent += 2
            case _:
                scene.socket.takes(step)
    scene.socket.takes(1_000_000)
    assert scene.text == "".join(f"{number};" for number in range(sent))
    assert sum(event["type"] == "any" for event in scene.socket.written) == steps.count("a")
    assert not scene.sender.waits
    assert value_of(scene.metrics.outbox_bytes) == 0


def test_a_client_that_takes_far_too_little_is_cut_once_and_nothing_more_is_kept(scene):
    scene.socket.room = 0
    for number in range(2 * CEILING // 8000):
        scene.say(number, b"x" * 8000)
    assert scene.cuts == value_of(scene.metrics.slow_closes) == 1
    assert CEILING < value_of(scene.metrics.outbox_bytes) < CEILING + 9000


def test_a_client_that_takes_nothing_is_cut_when_its_time_is_over(scene):
    scene.socket.room = 0
    scene.say(0)
    scene.sender.look(PATIENCE)
    assert scene.cuts == 0
    scene.sender.look(PATIENCE + 1)
    scene.sender.look(PATIENCE + 2)
    assert scene.cuts == 1


def test_a_socket_that_closes_is_sent_what_waited_and_keeps_no_more(scene):
    scene.socket.room = 0
    scene.say(0, b"a")
    scene.sender.close()
    scene.say(1, b"b")
    scene.sender.event("a", b'{"type":"any"}')
    scene.sender.look(PATIENCE + 1)
    scene.socket.takes(9)
    assert [event["delta"] for event in scene.socket.written] == ["a"]
    assert scene.cuts == 0


def test_a_socket_that_is_gone_holds_nothing(scene):
    scene.socket.room = 0
    scene.say(0)
    scene.sender.end()
    assert (scene.socket.on_writable, scene.sender.waits) == (None, False)
    assert value_of(scene.metrics.outbox_bytes) == 0


def test_merged_deltas_are_counted_once_and_also_of_a_client_that_is_cut(scene):
    scene.socket.room = 0
    for number in range(3 * LIMIT // 1000):
        scene.say(number, b"x" * 1000)
    merged = value_of(scene.metrics.merged)
    assert merged > 0
    scene.socket.takes(9)
    scene.sender.end()
    assert value_of(scene.metrics.merged) == merged


# ---- the same over a real connection ----

CREATE = json.dumps({"type": "response.create", "input": "x"})


@contextlib.asynccontextmanager
async def slow_client(bench):
    """A client that has asked for an answer and reads no more, and the claim of that answer."""
    raw = slow_socket(bench.gateway.port)
    options = {"sock": raw, "compression": None, "max_queue": 1, "ping_interval": None}
    slow = await connect(f"ws://{bench.authority}/v1/responses", **options)
    await slow.send(CREATE)
    claim = await bench.hand.claim()
    slow.transport.pause_reading()
    try:
        yield slow, claim
    finally:
        slow.transport.abort()
        await slow.wait_closed()


async def test_a_slow_reader_gets_merged_events_and_the_whole_text(bench):
    async with slow_client(bench) as (slow, claim):
        texts = [f"{n:06d}" + "x" * 94 for n in range(3000)]
        await bench.hand.say(claim, *texts)
        await until(lambda: bench.metric("outbox_bytes") > LIMIT)
        waiting = bench.metric("outbox_bytes")
        assert waiting < LIMIT + sum(map(len, texts))  # beyond the limit the envelopes are saved
        await bench.hand.finish(claim)
        slow.transport.resume_reading()
        events = []
        async with asyncio.timeout(LONG):
            while not events or events[-1]["type"] != "response.completed":
                events.append(json.loads(await slow.recv()))
        assert_contiguous(events)
        assert text_of(events) == "".join(texts)
        assert any("first_sequence_number" in event for event in events)
        assert bench.metric("merged_deltas_total") > 0
        assert bench.metric("outbox_bytes") == 0


async def test_a_reader_that_stops_costs_bounded_bytes_and_the_others_wait_for_nothing():
    async with in_memory() as bench, bench.client() as healthy, slow_client(bench) as (_, theirs):
        await healthy.create()
        ours = await bench.hand.claim()
        await healthy.until("response.content_part.added")
        waiting, seen = [], []
        for n in range(400):
            await bench.hand.say(theirs, "x" * 8000)
            await bench.hand.say(ours, f"{n} ")
            seen.append(await healthy.event())  # before anything else is said to either
            waiting.append(bench.metric("outbox_bytes"))
        assert [each["delta"] for each in seen] == [f"{n} " for n in range(400)]
        assert not any("first_sequence_number" in each for each in seen)
        assert LIMIT < max(waiting) <= CEILING + 9000
        assert bench.metric("slow_client_closes_total") == 1
        assert bench.lines("socket_closed")[0]["code"] == 1013
        after_the_cut = waiting[waiting.index(max(waiting)) :]
        assert after_the_cut == sorted(after_the_cut, reverse=True)
        await until(lambda: bench.metric("outbox_bytes") == 0)
        assert not bench.server.records[theirs.response_id].status.terminal


async def test_a_reader_that_dribbles_gets_the_same_text_merged_or_is_cut():
    async with in_memory() as bench:
        raw = slow_socket(bench.gateway.port)
        async with dialled(bench, sock=raw, limit=4096) as (reader, writer):
            writer.write(upgrade())
            await reader.readuntil(b"\r\n\r\n")
            writer.write(frame(CREATE.encode()))
            claim = await bench.hand.claim()
            await reader.readuntil(b"content_part.added")
            waiting = []
            for _ in range(400):
                await bench.hand.say(claim, "x" * 8000)
                assert len(await reader.read(1)) == 1
                await asyncio.sleep(0)
                waiting.append(bench.metric("outbox_bytes"))
            assert max(waiting) <= CEILING + 9000
            assert bench.metric("slow_client_closes_total") == 1
            assert bench.lines("socket_closed")[0]["code"] == 1013


async def test_an_ending_that_waits_for_a_slow_reader_is_not_called_done():
    async with in_memory(session_seconds=1.0) as bench, slow_client(bench) as (_, claim):
        await bench.hand.say(claim, *["x" * 1000] * 200)
        await bench.hand.finish(claim)
        await until(lambda: bench.lines("socket_closed"))
        closed = bench.lines("socket_closed")[0]
        assert (closed["code"], closed["reason"]) == (1012, "resumable")


async def test_one_that_takes_nothing_is_cut_and_harms_nobody(monkeypatch):
    monkeypatch.setattr(sender, "Outbox", functools.partial(Outbox, patience=0.2))
    monkeypatch.setattr(connection, "CLOSE_SECONDS", 0.2)
    async with in_memory() as bench, bench.client() as healthy, slow_client(bench) as (_, claim):
        await healthy.send(type="response.resume", response_id=claim.response_id)
        texts = ["x" * 100] * 3000
        await bench.hand.say(claim, *texts)
        await until(lambda: bench.metric("slow_client_closes_total") == 1)
        await until(lambda: bench.metric("connections", door="websocket") == 1)
        await bench.hand.finish(claim)
        assert text_of(await healthy.until("response.completed")) == "".join(texts)
        assert bench.lines("socket_closed")[0]["code"] == 1013
