"""The client's machine: the shared test vectors, and any faults that hypothesis can think of."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenwire.client.errors import Failed, Refused, StreamError, Unreachable
from tokenwire.client.machine import (
    CEILING,
    SILENCE_SECONDS,
    Dial,
    Effect,
    Fail,
    Finish,
    Machine,
    Piece,
    Send,
    backoff,
)
from tokenwire.client.wire import read

VECTORS = json.loads((Path(__file__).parents[3] / "docs/vectors/streams.json").read_text())["cases"]
ID = "resp_000000000000000000000000000000000aa"
PATIENCE = 60.0


@dataclass
class Client:
    """A machine with one socket, and notes of what it did."""

    machine: Machine = field(default_factory=lambda: Machine({"input": "?"}, "key", PATIENCE))
    open: bool = False
    dialling: bool = True
    sent: list[dict] = field(default_factory=list)
    text: str = ""
    endings: list[str] = field(default_factory=list)
    now: float = 0.0

    def perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self.sent.append(effect.message)
                case Piece():
                    self.text += effect.text
                case Dial():
                    assert 0 < effect.after <= CEILING
                    self.open, self.dialling = False, True
                case Finish():
                    self.ended(self.machine.response["status"])
                case Fail():
                    self.ended(f"failed:{effect.error.code}")

    def ended(self, how: str) -> None:
        self.open = self.dialling = False
        self.endings.append(how)

    def socket(self) -> None:
        assert self.dialling, "it has no reason to open a socket"
        self.open, self.dialling = True, False
        self.perform(self.machine.opened(self.now))

    def receive(self, frame: str) -> None:
        if self.open:
            self.perform(self.machine.received(read(frame), self.now, 0.5))

    def closed(self, code: int) -> None:
        self.open = False
        self.perform(self.machine.closed(code, self.now, 0.5))

    def quiet(self) -> None:
        if self.open:
            self.perform(self.machine.quiet(self.now, 0.5))

    def step(self, step: dict) -> None:
        match step:
            case {"open": _}:
                self.socket()
            case {"receive": event}:
                self.receive(json.dumps(event))
            case {"receive_text": frame}:
                self.receive(frame)
            case {"close": code}:
                self.closed(code)
            case {"unreachable": _}:
                self.closed(1006)
            case {"silence": _}:
                self.quiet()
            case {"stop": _}:
                self.perform(self.machine.stop())
            case _:
                pytest.fail(f"unknown step {step}")


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: case["name"])
def test_each_vector_ends_as_it_says(case):
    client = Client()
    for step in case["steps"]:
        client.step(step)
    expect = case["expect"]
    assert client.text == client.machine.text == expect["text"]
    assert client.endings == [expect["ending"]]
    assert client.machine.last == expect["last"]
    assert [
        {name: value for name, value in message.items() if name in wanted}
        for message, wanted in zip(client.sent, expect["sent"], strict=True)
    ] == expect["sent"]
    assert {message["idempotency_key"] for message in client.sent if "idempotency_key" in message} == {"key"}


# ---- any faults ------------------------------------------------------------------------------------


def log_of(pieces: list[str]) -> list[dict]:
    """A response's events as a gateway renders them, as far as the machine looks."""
    bodies = [
        {"type": "response.created", "response": {"id": ID, "status": "queued"}},
        {"type": "response.in_progress", "response": {"id": ID, "status": "in_progress"}},
        {"type": "response.output_item.added"},
        {"type": "response.content_part.added"},
        *({"type": "response.output_text.delta", "delta": piece} for piece in pieces),
        {"type": "response.output_text.done", "text": "".join(pieces)},
        {"type": "response.content_part.done"},
        {"type": "response.output_item.done"},
        {"type": "response.completed", "response": {"id": ID, "status": "completed", "usage": {}}},
    ]
    return [body | {"sequence_number": number, "epoch": 7} for number, body in enumerate(bodies)]


def joined(events: list[dict]) -> dict:
    delta = "".join(event["delta"] for event in events)
    return events[-1] | {"delta": delta, "first_sequence_number": events[0]["sequence_number"]}


FAULTS = st.one_of(
    *[st.just(("deliver", 0))] * 4,
    st.sampled_from([("lose", 0), ("repeat", 0), ("garble", 0), ("quiet", 0), ("expire", 0), ("stop", 0)]),
    st.tuples(st.sampled_from(["replay", "merge"]), st.integers(1, 5)),
    st.tuples(st.just("cut"), st.sampled_from([1000, 1001, 1005, 1006, 1011, 1012, 1013])),
)


class World:
    """A log and the sockets to it; each turn delivers one event through the next fault."""

    def __init__(self, pieces: list[str], script: list[tuple[str, int]]) -> None:
        self.log, self.script = log_of(pieces), list(script)
        self.client = Client()
        self.at = 0
        self.heard = 0
        self.keys: set[str] = set()
        self.cancelled = False

    def run(self) -> None:
        for _ in range(2_000):
            if self.client.endings:
                return
            self.turn(*(self.script.pop(0) if self.script else ("deliver", 0)))
            self.listen()
        pytest.fail("the answer never ended")

    def turn(self, fault: str, number: int) -> None:
        client = self.client
        if fault == "stop":
            client.perform(client.machine.stop())
        elif client.dialling:
            client.socket() if fault != "cut" else client.closed(1006)
        elif fault == "cut":
            client.closed(number)
        elif fault == "quiet":
            client.quiet()
        else:
            self.deliver(fault, number)

    def deliver(self, fault: str, number: int) -> None:
        tell = self.client.receive
        if fault == "garble":
            tell("{")
        elif fault == "expire":
            tell(
                json.dumps(
                    {"type": "error", "error": {"code": "websocket_connection_limit_reached", "message": "."}}
                )
            )
        elif fault == "lose":
            self.at += 1
        elif fault == "replay":
            for event in self.log[max(0, self.at - number) : self.at]:
                tell(json.dumps(event))
        else:
            self.next(number if fault == "merge" else 1, twice=fault == "repeat")

    def next(self, count: int, *, twice: bool) -> None:
        events = self.log[self.at : self.at + count]
        if not events:
            self.client.quiet()
            return
        if not all("delta" in event for event in events):
            events = events[:1]
        self.at += len(events)
        for _ in range(1 + twice):
            self.client.receive(json.dumps(joined(events) if "delta" in events[0] else events[0]))

    def listen(self) -> None:
        for message in self.client.sent[self.heard :]:
            if message["type"] == "response.create":
                self.keys.add(message["idempotency_key"])
                self.at = 0
            elif message["type"] == "response.resume":
                self.at = message["starting_after"] + 1
            else:
                self.cancelled = True
        self.heard = len(self.client.sent)


PIECES = st.lists(st.text(min_size=1, max_size=4), max_size=20)


@settings(max_examples=400, deadline=None)
@given(PIECES, st.lists(FAULTS, max_size=50))
def test_any_loss_duplication_merge_cut_or_silence_leaves_the_same_text_and_one_ending(pieces, script):
    world = World(pieces, script)
    world.run()
    client = world.client
    assert client.text == client.machine.text == "".join(pieces)
    assert client.endings == ["completed"]
    assert len(world.keys) == 1
    assert client.machine.last == len(world.log) - 1
    assert not world.cancelled or client.machine.stopping


@given(st.text(max_size=40) | st.binary(max_size=10))
def test_any_frame_is_read_without_an_error(frame):
    assert isinstance(read(frame)["type"], str)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
        max_leaves=4,
    ),
    st.sampled_from([*log_of(["a"]), {"type": "error", "error": {"message": "x", "code": "y"}}]),
    st.data(),
)
def test_a_field_of_any_shape_breaks_no_client(value, event, data):
    name = data.draw(st.sampled_from(sorted(event)))
    client = Client()
    client.socket()
    client.receive(json.dumps(event | {name: value}))
    assert client.open or client.dialling or client.endings


# ---- giving up -------------------------------------------------------------------------------------


def errors(effects: list[Effect]) -> list[StreamError]:
    return [effect.error for effect in effects if isinstance(effect, Fail)]


def test_patience_is_counted_from_the_first_failure_in_a_row():
    machine = Machine({}, "key", 10.0)
    assert isinstance(machine.closed(1006, 0.0, 0.5)[0], Dial)
    assert isinstance(machine.closed(1006, 9.0, 0.5)[0], Dial)
    (error,) = errors(machine.closed(1006, 10.0, 0.5))
    assert isinstance(error, Unreachable)


def test_an_event_renews_patience():
    client = Client(Machine({}, "key", 10.0))
    client.closed(1006)
    client.now = 9.0
    client.socket()
    client.receive(json.dumps(log_of([])[0]))
    client.now = 12.0
    client.closed(1006)
    assert client.dialling


def test_a_long_wait_in_the_queue_costs_no_patience():
    client = Client(Machine({}, "key", 10.0))
    client.socket()
    client.receive(json.dumps(log_of([])[0]))
    for now in (30.0, 60.0, 90.0):
        client.now = now
        client.quiet()
        assert not client.endings
        client.socket()
    client.now = 100.0
    client.closed(1006)
    client.now = 111.0
    client.closed(1006)
    assert client.endings == ["failed:unreachable"]


def test_a_server_that_takes_sockets_and_never_answers_a_create_is_given_up_when_patience_is_over():
    client = Client(Machine({}, "key", 70.0))
    client.socket()
    for now, left in ((30.0, 30.0), (60.0, 10.0)):
        client.now = now
        client.quiet()
        assert not client.endings
        client.socket()
        assert client.machine.bears(now) == left
    client.now = 70.0
    effects = client.machine.quiet(client.now, 0.5)
    assert str(errors(effects)[0]) == "The server takes connections and has said nothing for 70 seconds."
    assert isinstance(errors(effects)[0], Unreachable)


def test_a_response_that_was_named_may_be_silent_for_long_and_not_for_ever():
    client = Client(Machine({}, "key", 10.0))
    client.now = 100.0
    client.socket()
    client.receive(json.dumps(log_of([])[0]))
    while not client.endings and client.now < 2 * SILENCE_SECONDS:
        client.now += client.machine.bears(client.now)
        client.quiet()
        if client.dialling:
            client.socket()
    assert client.endings == ["failed:unreachable"]
    assert client.now == 100.0 + SILENCE_SECONDS


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429])
def test_a_refused_handshake_is_told_with_its_code(status):
    (error,) = errors(Machine({}, "key", 10.0).refused(status, "some_code", "No.", 7, 0.0, 0.5))
    assert isinstance(error, Refused)
    assert (error.code, str(error), error.retry_after) == ("some_code", "No.", 7)


def test_a_handshake_refused_for_now_is_tried_again_no_sooner_than_it_says_and_not_by_all_at_once():
    (effect,) = Machine({}, "key", 10.0).refused(503, "server_draining", "Later.", 5, 0.0, 0.25)
    assert effect == Dial(5.25)


def test_a_failed_response_names_itself():
    client = Client()
    client.socket()
    client.receive(json.dumps(log_of([])[0]))
    event = {"type": "response.failed", "sequence_number": 1, "response": {"id": ID, "status": "failed"}}
    (error,) = errors(client.machine.received(read(json.dumps(event)), 0.0, 0.5))
    assert isinstance(error, Failed)
    assert (error.code, error.response_id) == ("server_error", ID)


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_stays_between_half_its_step_and_the_ceiling(attempt, draw):
    assert 0.125 <= backoff(attempt, draw) <= CEILING
