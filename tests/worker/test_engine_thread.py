"""An engine in its thread: commands in, one hand-over per step out, and nothing after a cancel."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from shared.log import Reason
from shared.request import Message, Sampling
from worker.engine_thread import EngineThread
from worker.engines.contract import Ended, EngineError, EngineInfo, Order, Piece, Stats

WAIT = 40.0


def order(name, max_tokens=3):
    return Order(name, (Message("user", "x"),), Sampling(max_tokens=max_tokens, seed=1))


class Counting:
    """A stepper that gives every sequence one token a step.  A test may hold a step, or make it crash."""

    def __init__(self):
        self.info = EngineInfo("model", "build", 100, 4)
        self.left: dict[str, int] = {}
        self.steps = 0
        self.may_step = threading.Event()
        self.may_step.set()
        self.stepping = threading.Event()
        self.may_prepare = threading.Event()
        self.may_prepare.set()
        self.preparing = threading.Event()
        self.prepared: list[str] = []
        self.refuses: BaseException | None = None
        self.crash = False
        self.closed = threading.Event()

    @property
    def busy(self):
        return bool(self.left)

    def prepare(self, given):
        self.preparing.set()
        assert self.may_prepare.wait(WAIT)
        if self.refuses:
            raise self.refuses
        self.prepared.append(given.response_id)
        return lambda: self.left.update({given.response_id: given.sampling.max_tokens})

    def cancel(self, response_id):
        self.left.pop(response_id, None)

    def step(self):
        self.stepping.set()
        assert self.may_step.wait(WAIT)
        if self.crash:
            raise RuntimeError("cuda says no")
        self.steps += 1
        events = []
        for name in list(self.left):
            self.left[name] -= 1
            events.append(Piece(name, "x", (self.left[name],)))
            if not self.left[name]:
                del self.left[name]
                events.append(Ended(name, Reason.LENGTH))
        return events

    def stats(self):
        return Stats(self.steps, len(self.left), 0, 0, 0)

    def close(self):
        self.closed.set()


class Running:
    """A started engine, and what it handed over."""

    def __init__(self, stepper):
        self.stepper = stepper
        self.engine = EngineThread(lambda: stepper)
        self.batches: list[list[object]] = []
        self.news = asyncio.Event()

    def on_step(self, events):
        self.batches.append(list(events))
        self.news.set()

    async def until(self, condition):
        async with asyncio.timeout(WAIT):
            while not condition():
                self.news.clear()
                await self.news.wait()

    @property
    def events(self):
        return [event for batch in self.batches for event in batch]

    def ended(self, name):
        return [event for event in self.events if isinstance(event, Ended) and event.response_id == name]


@pytest.fixture
async def running():
    running = Running(Counting())
    await running.engine.start(running.on_step)
    yield running
    running.stepper.may_step.set()
    running.stepper.may_prepare.set()
    await running.engine.close()


async def in_step(running):
    assert await asyncio.to_thread(running.stepper.stepping.wait, WAIT)


def hold(running):
    running.stepper.stepping.clear()
    running.stepper.may_step.clear()


async def commanded(running, count):
    """Wait until so many commands lie ready for the engine's thread."""
    async with asyncio.timeout(WAIT):
        while len(running.engine._commands) < count:  # noqa: ASYNC110 - the threads have no event for it
            await asyncio.sleep(0.001)


async def in_preparation(running, name, max_tokens=3):
    """Begin to prepare an order and stay there."""
    running.stepper.preparing.clear()
    running.stepper.may_prepare.clear()
    running.engine.submit(order(name, max_tokens))
    assert await asyncio.to_thread(running.stepper.preparing.wait, WAIT)


async def test_an_order_is_computed_and_handed_over_once_per_step(running):
    running.engine.submit(order("a"))
    await running.until(lambda: running.ended("a"))
    assert [len(batch) for batch in running.batches] == [1, 1, 2]
    assert running.engine.stats().steps >= 2


async def test_everything_a_step_made_comes_in_one_batch(running):
    hold(running)
    running.engine.submit(order("a"))
    await in_step(running)
    running.engine.submit(order("b"))
    running.engine.submit(order("c"))
    await commanded(running, 2)
    running.stepper.may_step.set()
    await running.until(lambda: running.ended("b") and running.ended("c"))
    assert [event.response_id for event in running.batches[1][:3]] == ["a", "b", "c"]


async def test_after_a_cancel_no_event_comes_not_even_of_the_step_in_progress(running):
    hold(running)
    running.engine.submit(order("a", 1000))
    running.engine.submit(order("b"))
    await in_step(running)
    running.engine.cancel("a")
    running.stepper.may_step.set()
    await running.until(lambda: running.ended("b"))
    assert {event.response_id for event in running.events} == {"b"}
    assert running.stepper.left == {}


async def test_a_response_ordered_again_hears_nothing_of_the_order_before(running):
    hold(running)
    running.engine.submit(order("a", 1000))
    await in_step(running)
    running.engine.cancel("a")
    running.engine.submit(order("a", 2))
    running.stepper.may_step.set()
    await running.until(lambda: running.ended("a"))
    assert [event.ids for event in running.events if isinstance(event, Piece)] == [(1,), (0,)]


async def test_a_cancel_of_an_unknown_or_ended_response_is_harmless(running):
    running.engine.cancel("never")
    running.engine.submit(order("a", 1))
    await running.until(lambda: running.ended("a"))
    running.engine.cancel("a")
    running.engine.submit(order("b", 1))
    await running.until(lambda: running.ended("b"))
    assert len(running.events) == 4


async def test_an_idle_engine_takes_no_steps(running):
    running.engine.submit(order("a", 1))
    await running.until(lambda: running.ended("a"))
    assert running.stepper.steps == running.engine.stats().steps == 1
    assert 0 < running.engine.last_step_at <= time.monotonic()


async def test_an_engine_that_hangs_in_its_first_step_has_something_to_do(running):
    """Or it would pass for one that idles, and keep its leases for ever."""
    hold(running)
    running.engine.submit(order("a"))
    await in_step(running)
    stats = running.engine.stats()
    assert (stats.steps, stats.running + stats.waiting) == (0, 1)


async def test_a_crash_is_no_ending_and_says_why(running):
    hold(running)
    running.engine.submit(order("a"))
    await in_step(running)
    running.engine.submit(order("b"))
    running.stepper.crash = True
    running.stepper.may_step.set()
    assert await asyncio.to_thread(running.stepper.closed.wait, WAIT)
    running.engine.submit(order("c"))
    await asyncio.sleep(0)
    assert "cuda says no" in running.engine.failure
    assert not running.engine.healthy
    assert running.events == []


async def test_close_drops_what_runs_without_an_event_and_frees_the_engine(running):
    hold(running)
    running.engine.submit(order("a", 1000))
    await in_step(running)
    closing = asyncio.create_task(running.engine.close())
    await asyncio.sleep(0)
    running.stepper.may_step.set()
    await closing
    assert running.events == []
    assert running.stepper.closed.is_set()
    assert not running.engine.healthy


async def test_close_does_not_wait_for_ever_for_a_stuck_step(running, monkeypatch):
    monkeypatch.setattr("worker.engine_thread._JOIN_SECONDS", 0.05)
    hold(running)
    running.engine.submit(order("a"))
    await in_step(running)
    with pytest.raises(EngineError, match="did not end"):
        await running.engine.close()


async def test_steps_go_on_while_an_order_is_prepared(running):
    running.engine.submit(order("a", 1_000_000))
    await running.until(lambda: running.batches)
    await in_preparation(running, "b")
    before = len(running.batches)
    await running.until(lambda: len(running.batches) >= before + 5)
    assert (running.stepper.prepared, running.engine.stats().waiting) == (["a"], 1)
    running.stepper.may_prepare.set()
    await running.until(lambda: running.ended("b"))


async def test_a_cancel_in_preparation_ends_it_at_once_and_it_is_never_computed(running):
    await in_preparation(running, "a", 1_000_000)
    assert running.engine.stats().waiting == 1
    running.engine.cancel("a")
    assert running.engine.stats().waiting == 0
    running.stepper.may_prepare.set()
    running.engine.submit(order("b"))
    await running.until(lambda: running.ended("b"))
    assert {event.response_id for event in running.events} == {"b"}
    assert (running.stepper.prepared, running.stepper.left) == (["a", "b"], {})


async def test_what_is_cancelled_before_its_turn_is_not_even_prepared(running):
    await in_preparation(running, "a")
    running.engine.submit(order("b"))
    running.engine.cancel("b")
    running.stepper.may_prepare.set()
    running.engine.submit(order("c"))
    await running.until(lambda: running.ended("a") and running.ended("c"))
    assert running.stepper.prepared == ["a", "c"]


async def test_a_response_ordered_again_in_preparation_is_computed_once(running):
    await in_preparation(running, "a", 1_000_000)
    running.engine.cancel("a")
    running.engine.submit(order("a", 2))
    running.stepper.may_prepare.set()
    await running.until(lambda: running.ended("a"))
    running.engine.submit(order("b"))
    await running.until(lambda: running.ended("b"))
    assert [event.ids for event in running.events[:2]] == [(1,), (0,)]
    assert (len(running.ended("a")), running.stepper.left) == (1, {})


async def test_orders_are_admitted_as_they_came(running):
    await in_preparation(running, "first")
    names = [f"r{number}" for number in range(20)]
    for name in names:
        running.engine.submit(order(name, 1))
    running.stepper.may_prepare.set()
    await running.until(lambda: running.ended(names[-1]))
    ended = [event.response_id for event in running.events if isinstance(event, Ended)]
    assert [name for name in ended if name != "first"] == names


class Panic(BaseException):
    """What a library in Rust raises when it breaks: no Exception."""


@pytest.mark.parametrize("error", [RuntimeError("Already borrowed\nand more"), Panic("Already borrowed")])
async def test_an_order_that_cannot_be_prepared_fails_alone(running, error):
    running.stepper.refuses = error
    running.engine.submit(order("bad"))
    await running.until(lambda: running.ended("bad"))
    running.stepper.refuses = None
    running.engine.submit(order("good"))
    await running.until(lambda: running.ended("good"))
    (ended,) = running.ended("bad")
    assert ended.reason is Reason.ERROR
    assert ended.message == f"The engine failed on this prompt: {type(error).__name__}: Already borrowed"
    assert running.engine.healthy


async def test_how_long_an_order_has_been_in_preparation_is_told(running):
    assert running.engine.stats().preparing_seconds == 0.0
    await in_preparation(running, "a")
    running.engine._preparing_since -= 30
    assert 30 < running.engine.stats().preparing_seconds < 30 + WAIT
    running.stepper.may_prepare.set()
    await running.until(lambda: running.ended("a"))
    assert running.engine.stats().preparing_seconds == 0.0


async def test_close_does_not_wait_for_ever_for_a_stuck_preparation(running, monkeypatch):
    monkeypatch.setattr("worker.engine_thread._JOIN_SECONDS", 0.05)
    await in_preparation(running, "a")
    with pytest.raises(EngineError, match="did not end"):
        await running.engine.close()
    running.stepper.may_prepare.set()
    monkeypatch.undo()
    await running.engine.close()
    assert (running.events, running.stepper.left) == ([], {})


async def test_an_engine_that_cannot_start_says_why():
    def make():
        raise EngineError("Buy a GPU.")

    engine = EngineThread(make)
    with pytest.raises(EngineError, match="Buy a GPU"):
        await engine.start(lambda _events: None)
    assert not engine.healthy
    await engine.close()


async def test_what_an_engine_is_is_unknown_before_it_started():
    engine = EngineThread(Counting)
    with pytest.raises(EngineError, match="not started"):
        _ = engine.info
    await engine.close()


async def test_what_an_engine_is_is_known_once_it_started(running):
    assert running.engine.info.model == "model"


async def test_a_thousand_orders_each_end_once(running):
    for number in range(1000):
        running.engine.submit(order(f"r{number}", 1 + number % 5))
        if number % 3 == 0:
            running.engine.cancel(f"r{number // 2}")
    running.engine.submit(order("last", 50))
    await running.until(lambda: running.ended("last"))
    ended = [event.response_id for event in running.events if isinstance(event, Ended)]
    assert len(ended) == len(set(ended))
