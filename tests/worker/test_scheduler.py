"""Who is computed in a step, and how much of each."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shared.log import Reason
from shared.request import Message, Sampling
from worker.detokenizer import TextStream
from worker.engines.contract import Ended, Order, Piece
from worker.scheduler import Scheduler, StepResult, fair_shares
from worker.sequence import Sequence


class Letters:
    """Every id is the letter x."""

    def feed(self, _token_id):
        return "x"

    def flush(self):
        return ""


def order_of(name, max_tokens=3, logged=0):
    sampling = Sampling(max_tokens=max_tokens, seed=1)
    return Order(name, (Message("user", "x"),), sampling, tuple(range(logged)), "x" * logged)


def make(name, prompt=3, max_tokens=3, logged=0):
    order = order_of(name, max_tokens, logged)
    sequence = Sequence(order, range(prompt), TextStream(Letters()), context_length=1000)
    sequence.resume()
    return sequence


def step(scheduler, failed=()):
    """Execute a plan as an engine would; return it with the events."""
    plan = scheduler.plan()
    chosen = {work.slot: 7 for work in plan.work if work.chooses}
    failing = {work.slot: "no" for work in plan.work if work.sequence.response_id in failed}
    return plan, scheduler.apply(StepResult(chosen, failing))


def counts(plan):
    return {work.sequence.response_id: work.count for work in plan.work}


def test_a_prompt_that_fits_is_computed_in_one_step_and_chooses():
    scheduler = Scheduler(2, 16, 8)
    scheduler.add(make("a", prompt=10))
    plan, events = step(scheduler)
    assert counts(plan) == {"a": 10}
    assert events == [Piece("a", "x", (7,), 10)]


def test_a_long_prompt_is_computed_in_chunks_and_says_nothing_before_its_last():
    scheduler = Scheduler(2, 16, 8)
    scheduler.add(make("a", prompt=40))
    sizes, told = [], []
    for _ in range(3):
        plan, events = step(scheduler)
        sizes.append(counts(plan)["a"])
        told.append(len(events))
    assert (sizes, told) == ([16, 16, 8], [0, 0, 1])


def test_a_long_prompt_takes_only_its_share_while_others_decode():
    scheduler = Scheduler(2, 100, 8)
    scheduler.add(make("short", prompt=3, max_tokens=50))
    step(scheduler)
    scheduler.add(make("long", prompt=60))
    assert [counts(step(scheduler)[0]) for _ in range(3)] == [{"short": 1, "long": 8}] * 3


def test_a_crowd_is_not_kept_waiting_by_the_first_of_it_that_decodes():
    scheduler = Scheduler(4, 100, 8)
    scheduler.add(make("first", prompt=3, max_tokens=50))
    step(scheduler)
    for name in "abc":
        scheduler.add(make(name, prompt=60))
    assert counts(step(scheduler)[0]) == {"first": 1, "a": 8, "b": 8, "c": 8}


def test_as_many_as_decode_get_one_share_together():
    scheduler = Scheduler(4, 100, 8)
    for name in "ab":
        scheduler.add(make(name, prompt=3, max_tokens=50))
    step(scheduler)
    for name in "cd":
        scheduler.add(make(name, prompt=60))
    assert counts(step(scheduler)[0]) == {"a": 1, "b": 1, "c": 4, "d": 4}


def test_a_short_prompt_is_not_kept_behind_a_long_one():
    scheduler = Scheduler(2, 20, 8)
    scheduler.add(make("long", prompt=500))
    scheduler.add(make("short", prompt=5))
    plan, events = step(scheduler)
    assert counts(plan) == {"long": 15, "short": 5}
    assert [event.response_id for event in events] == ["short"]


def test_a_handed_over_sequence_computes_prompt_and_logged_ids_then_goes_on():
    scheduler = Scheduler(1, 16, 8)
    scheduler.add(make("a", prompt=3, logged=4, max_tokens=5))
    plan, events = step(scheduler)
    assert counts(plan) == {"a": 7}
    assert events == [Piece("a", "x", (7,)), Ended("a", Reason.LENGTH)]


def test_slots_are_given_in_order_of_arrival_the_lowest_first():
    scheduler = Scheduler(2, 16, 8)
    for name in "abc":
        scheduler.add(make(name))
    assert [(work.slot, work.sequence.response_id) for work in step(scheduler)[0].work] == [
        (0, "a"),
        (1, "b"),
    ]
    scheduler.cancel("a")
    assert [(work.slot, work.sequence.response_id) for work in step(scheduler)[0].work] == [
        (0, "c"),
        (1, "b"),
    ]


def test_a_sequence_cancelled_between_plan_and_apply_says_nothing_and_frees_its_slot():
    scheduler = Scheduler(1, 16, 8)
    scheduler.add(make("a"))
    scheduler.add(make("b"))
    plan = scheduler.plan()
    scheduler.cancel("a")
    assert scheduler.apply(StepResult({plan.work[0].slot: 7})) == []
    assert counts(scheduler.plan()) == {"b": 3}


def test_a_response_ordered_again_between_plan_and_apply_is_not_advanced_by_the_old_step():
    scheduler = Scheduler(1, 16, 8)
    scheduler.add(make("a"))
    plan = scheduler.plan()
    scheduler.add(make("a", prompt=5))
    assert scheduler.apply(StepResult({plan.work[0].slot: 7})) == []
    assert counts(scheduler.plan()) == {"a": 5}


def test_a_fault_ends_the_one_it_concerns():
    scheduler = Scheduler(2, 16, 8)
    scheduler.add(make("good"))
    scheduler.add(make("bad"))
    _, events = step(scheduler, failed={"bad"})
    assert events == [Piece("good", "x", (7,), 3), Ended("bad", Reason.ERROR, "no")]
    assert scheduler.running == 1


def test_a_plan_before_the_last_was_applied_is_a_bug_that_shows():
    scheduler = Scheduler(1, 16, 8)
    scheduler.plan()
    with pytest.raises(RuntimeError, match="before"):
        scheduler.plan()


def test_a_result_without_a_plan_is_a_bug_that_shows():
    with pytest.raises(RuntimeError, match="never planned"):
        Scheduler(1, 16, 8).apply(StepResult())


class Unreadable(Letters):
    """A tokenizer that cannot read what was chosen."""

    def feed(self, _token_id):
        raise IndexError("no such token\nand more")


def test_an_id_that_the_tokenizer_cannot_read_ends_its_response_alone_and_frees_the_slot():
    scheduler = Scheduler(2, 16, 8)
    bad = Sequence(order_of("bad"), range(3), TextStream(Unreadable()), context_length=1000)
    scheduler.add(bad)
    scheduler.add(make("good"))
    _, events = step(scheduler)
    sentence = "The engine failed on this response: IndexError: no such token"
    assert events == [Ended("bad", Reason.ERROR, sentence), Piece("good", "x", (7,), 3)]
    scheduler.add(make("next"))
    assert set(counts(step(scheduler)[0])) == {"good", "next"}


def test_a_result_that_lacks_a_chosen_id_is_a_bug_that_shows():
    scheduler = Scheduler(1, 16, 8)
    scheduler.add(make("a"))
    scheduler.plan()
    with pytest.raises(KeyError):
        scheduler.apply(StepResult())


@pytest.mark.parametrize("numbers", [(0, 8, 8), (9, 16, 8), (1, 8, 9)])
def test_budgets_that_could_starve_somebody_are_refused(numbers):
    with pytest.raises(ValueError, match="slots"):
        Scheduler(*numbers)


@given(st.lists(st.integers(1, 500), max_size=20), st.integers(0, 100))
def test_shares_are_even_and_nothing_is_wasted(wants, extra):
    room = len(wants) + extra
    shares = fair_shares(wants, room)
    assert sum(shares) == min(room, sum(wants))
    assert all(1 <= share <= want for share, want in zip(shares, wants, strict=True))
    unmet = [share for share, want in zip(shares, wants, strict=True) if share < want]
    assert not unmet or max(shares) - min(unmet) <= 1


class Engine(RuleBasedStateMachine):
    """Any order of arrivals, cancels, faults and steps."""

    def __init__(self):
        super().__init__()
        self.slots, self.budget, self.share = 3, 20, 6
        self.scheduler = Scheduler(self.slots, self.budget, self.share)
        self.sequences: dict[str, Sequence] = {}
        self.arrived: list[str] = []
        self.admitted: list[str] = []
        self.endings: dict[str, int] = {}
        self.cancelled: set[str] = set()

    def open(self):
        return [name for name in self.arrived if name not in self.cancelled and not self.endings.get(name)]

    @rule(prompt=st.integers(1, 60), max_tokens=st.integers(1, 6), logged=st.integers(0, 5))
    def arrive(self, prompt, max_tokens, logged):
        name = f"r{len(self.arrived)}"
        sequence = make(name, prompt, max_tokens + logged, logged)
        self.arrived.append(name)
        self.sequences[name] = sequence
        self.scheduler.add(sequence)

    @precondition(lambda self: self.arrived)
    @rule(data=st.data())
    def cancel(self, data):
        self._cancel(data.draw(st.sampled_from(self.arrived)))

    def _cancel(self, name):
        if not self.endings.get(name):
            self.cancelled.add(name)
        self.scheduler.cancel(name)

    @rule(data=st.data())
    def step(self, data):
        plan = self.scheduler.plan()
        self._judge(plan)
        between = data.draw(st.sampled_from([None, *self.open()]))
        if between:
            self._cancel(between)
        chosen = {work.slot: 7 for work in plan.work if work.chooses}
        slots = [None, None, *(work.slot for work in plan.work)]
        failing = {slot: "no" for slot in [data.draw(st.sampled_from(slots))] if slot is not None}
        self._hear(self.scheduler.apply(StepResult(chosen, failing)))

    def _judge(self, plan):
        computed = [work.sequence for work in plan.work]
        names = [sequence.response_id for sequence in computed]
        self.admitted += [name for name in names if name not in self.admitted]
        assert len({work.slot for work in plan.work}) == len(plan.work) <= self.slots
        assert plan.tokens <= self.budget
        assert len(plan.work) == min(self.slots, len(self.open()))  # no slot idle while anybody waits
        assert all(1 <= work.count <= work.sequence.missing for work in plan.work)  # nobody stands still
        prompts = [work.count for work in plan.work if work.sequence.missing > 1]
        decoding = len(plan.work) - len(prompts)
        if decoding:
            assert sum(prompts) <= self.share * max(1, len(prompts) // decoding)

    def _hear(self, events):
        for event in events:
            assert event.response_id not in self.cancelled
            assert not self.endings.get(event.response_id)
            if isinstance(event, Ended):
                self.endings[event.response_id] = 1

    @invariant()
    def nobody_is_admitted_before_who_came_earlier(self):
        arrivals = [name for name in self.arrived if name in self.admitted]
        assert [name for name in self.admitted if name in arrivals] == arrivals

    @invariant()
    def everybody_is_running_or_waiting_or_gone(self):
        assert self.scheduler.running + self.scheduler.waiting == len(self.open())

    def teardown(self):
        for _ in range(2000):
            if self.open():
                plan = self.scheduler.plan()
                self._hear(self.scheduler.apply(StepResult({w.slot: 7 for w in plan.work if w.chooses})))
        assert self.open() == []  # each has ended, exactly once
        assert self.scheduler.running == self.scheduler.waiting == 0


TestEngine = Engine.TestCase
TestEngine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
