"""The echo engine: its rule, its pace, its marks."""

from __future__ import annotations

import subprocess
import sys

import pytest
from engines import echo_options, order, run
from hypothesis import given
from hypothesis import strategies as st

from shared.log import Reason
from shared.request import ANY_OBJECT, Message, Sampling
from worker.engines.contract import Ended, Order, Piece
from worker.engines.echo import POISONED, EchoEngine, words


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self):
        self.now = 100.0
        self.slept = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


def paced(**options):
    clock = Clock()
    return EchoEngine(echo_options(**{"rate": 50.0, **options}), clock, clock.sleep), clock


def test_it_says_the_words_of_the_last_user_message_for_ever():
    engine = EchoEngine(echo_options())
    messages = (Message("user", "no"), Message("assistant", "nor this"), Message("user", "one  two\nthree"))
    heard = run(engine, Order("a", messages, Sampling(max_tokens=7, seed=1)))
    assert heard.answer("a") == ("one  two\nthree one  two\nthree one  ", list(range(7)), "max_output_tokens")
    assert heard.pieces("a")[0].prompt_tokens == 6


@given(st.text(max_size=60))
def test_words_join_to_the_text_without_leading_space(text):
    assert "".join(words(text)).rstrip() == text.strip()


def test_a_long_answer_is_possible():
    engine = EchoEngine(echo_options(context_length=100_000))
    text = run(engine, order("a", "lorem ipsum dolor", max_tokens=6000)).text("a")
    assert len(text) > 30_000


def test_token_n_appears_n_ticks_after_the_start():
    engine, clock = paced()
    engine.prepare(order("a", max_tokens=100))()
    engine.step()
    began = clock.now
    for n in range(1, 30):
        (piece,) = engine.step()
        assert piece.ids == (n,)
        assert clock.now == pytest.approx(began + n / 50, abs=1e-6)


def test_all_that_are_due_are_made_in_one_step_per_tick():
    engine, clock = paced(slots=500)
    for n in range(500):
        engine.prepare(order(f"r{n}", max_tokens=1000))()
        clock.now += 0.0001
        if n % 100 == 99:
            engine.step()
    steps, began, made = engine.stats().steps, clock.now, 0
    while clock.now < began + 1.0:
        made += len([event for event in engine.step() if isinstance(event, Piece)])
    assert engine.stats().steps - steps <= 52
    assert made == pytest.approx(500 * 50, rel=0.05)


def test_a_process_that_was_held_up_catches_up_in_one_piece():
    engine, clock = paced()
    engine.prepare(order("a", max_tokens=100))()
    engine.step()
    clock.now += 0.2
    (piece,) = engine.step()
    assert piece.ids == tuple(range(1, 11))


def test_what_it_catches_up_with_is_not_more_than_was_asked():
    engine, clock = paced()
    engine.prepare(order("a", max_tokens=4))()
    engine.step()
    clock.now += 10
    assert engine.step() == [Piece("a", "quick brown fox ", (1, 2, 3)), Ended("a", Reason.LENGTH)]


def test_prefill_takes_its_time_and_the_steps_go_on_meanwhile():
    engine, clock = paced(prefill_seconds=1.0)
    engine.prepare(order("a"))()
    began, events = clock.now, []
    while not events:
        events = engine.step()
    assert 1.0 <= clock.now - began < 1.05
    assert max(clock.slept) <= 0.25
    assert engine.stats().steps > 3


def test_a_slow_pace_still_takes_commands_in_time():
    engine, clock = paced(rate=0.5)
    engine.prepare(order("a"))()
    engine.step()
    engine.step()
    assert max(clock.slept) <= 0.25


def test_a_resumed_answer_keeps_the_pace_from_its_resumption():
    engine, clock = paced()
    engine.prepare(order("a", "one two three", ids=range(4), logged="one two three one "))()
    assert engine.step() == [Piece("a", "two ", (4,))]
    began = clock.now
    assert engine.step() == [Piece("a", "three ", (5,))]
    assert clock.now - began == pytest.approx(0.02)


def test_marks_name_response_position_and_owner():
    engine = EchoEngine(echo_options(mark=True))
    heard = run(engine, order("resp_0123ab12", max_tokens=3, owner="worker-1"))
    assert heard.text("resp_0123ab12") == "[ab12:0@worker-1] [ab12:1@worker-1] [ab12:2@worker-1] "


def test_marks_of_the_owner_before_are_kept():
    engine = EchoEngine(echo_options(mark=True))
    resumed = order("r_ab12", max_tokens=4, owner="new", ids=(0, 1), logged="[ab12:0@old] [ab12:1@old] ")
    assert run(engine, resumed).text("r_ab12") == "[ab12:2@new] [ab12:3@new] "


KILL = """
from engines import echo_options, order, run
from worker.engines.echo import EchoEngine
run(EchoEngine(echo_options(poison=%s)), order("a", "take #poison please", max_tokens=2))
print("alive")
"""


@pytest.mark.parametrize(("poison", "code", "said"), [(True, POISONED, ""), (False, 0, "alive\n")])
def test_poison_kills_the_process_only_where_it_is_allowed(request, poison, code, said):
    paths = [str(request.config.rootpath), str(request.config.rootpath / "tests/support")]
    told = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}{KILL % poison}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (told.returncode, told.stdout) == (code, said)


def test_echo_needs_neither_torch_nor_transformers(request):
    code = (
        "import sys; from worker.engines.registry import make_engine; import worker.engines.echo;"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=request.config.rootpath, capture_output=True, text=True, check=True
    )
    assert told.stdout == "[]\n"


def test_json_is_refused_by_name_and_harms_no_neighbour():
    engine = EchoEngine(echo_options())
    heard = run(engine, order("bad", grammar=ANY_OBJECT), order("good"))
    assert heard.of("bad") == [Ended("bad", Reason.ERROR, heard.endings("bad")[0].message)]
    assert "JSON" in heard.endings("bad")[0].message
    assert heard.answer("good") == run(EchoEngine(echo_options()), order("good")).answer("good")
