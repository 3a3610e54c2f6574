"""What every engine promises."""

from __future__ import annotations

import pytest
from engines import Heard, echo_options, order, run, tiny_options
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from upstream import Asking

from shared.log import Reason
from shared.logprobs import decode, join
from shared.request import ANY_OBJECT
from worker.engines.contract import Ended, Piece
from worker.engines.echo import EchoEngine
from worker.engines.transformers.engine import TransformersEngine
from worker.engines.transformers.load import load

TALK = "the quick brown fox jumps over the lazy dog and says: 你好 👍🏽 café"


@pytest.fixture(scope="session")
def loaded(tiny_model_dir):
    return load(tiny_options(tiny_model_dir))


@pytest.fixture
def asking():
    """Make engines that ask an upstream, and close them after the test."""
    made = []

    def make(**options):
        made.append(Asking(**options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(params=["echo", "transformers", "openai", "openai that replays"])
def make(request):
    """Make a stepper with 3 slots and a context of 256 tokens."""
    if request.param == "echo":
        return lambda: EchoEngine(echo_options())
    if request.param.startswith("openai"):
        how = {"resume": "replay"} if "replays" in request.param else {}
        asking = request.getfixturevalue("asking")
        return lambda: asking(**how)
    loaded, folder = request.getfixturevalue("loaded"), request.getfixturevalue("tiny_model_dir")
    return lambda: TransformersEngine(loaded, tiny_options(folder))


@pytest.fixture
def stepper(make):
    return make()


SAMPLINGS = [
    {},
    {"temperature": 0.9, "top_p": 0.95, "seed": 5},
    {"frequency_penalty": 1.2, "presence_penalty": 0.7},
]


def test_it_says_what_it_is(stepper):
    assert (stepper.info.slots, stepper.info.context_length) == (3, 256)
    assert len(stepper.info.build.split("|")) == 3
    assert not stepper.busy


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_the_same_order_twice_gives_the_same_text(stepper, sampling):
    heard = run(stepper, order("a", TALK, **sampling), order("b", TALK, **sampling))
    assert heard.answer("a") == heard.answer("b")
    assert heard.answer("a") == run(stepper, order("a", TALK, **sampling)).answer("a")


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_sequence_alone_says_what_it_says_among_others(make, sampling):
    wanted = [order(f"r{n}", TALK[: 9 + 7 * n], max_tokens=10 + n, **sampling) for n in range(7)]
    together = run(make(), *wanted)
    assert [together.answer(o.response_id) for o in wanted] == [
        run(make(), o).answer(o.response_id) for o in wanted
    ]


def test_each_ends_exactly_once_and_nothing_comes_after(stepper):
    heard = run(stepper, *(order(f"r{n}", max_tokens=1 + n) for n in range(8)))
    assert all(len(heard.endings(f"r{n}")) == 1 for n in range(8))
    assert all(isinstance(heard.of(f"r{n}")[-1], Ended) for n in range(8))


def test_every_generated_id_is_in_exactly_one_piece(stepper):
    heard = run(stepper, order("a", TALK, max_tokens=40))
    (ending,) = heard.endings("a")
    assert len(heard.ids("a")) == 40 or ending.reason == Reason.STOP
    assert stepper.stats().generated_tokens == len(heard.ids("a"))


def test_the_first_piece_alone_names_the_prompt_tokens(stepper):
    counts = [piece.prompt_tokens for piece in run(stepper, order("a", TALK)).pieces("a")]
    assert counts[0] > 0
    assert set(counts[1:]) == {0}


def test_more_orders_than_slots_wait_and_finish(stepper):
    for n in range(10):
        stepper.prepare(order(f"r{n}"))()
    stepper.step()
    assert (stepper.stats().running, stepper.stats().waiting) == (3, 7)
    heard = run(stepper)
    assert all(len(heard.endings(f"r{n}")) == 1 for n in range(10))
    assert (stepper.stats().running, stepper.stats().waiting, stepper.busy) == (0, 0, False)


def test_a_cancelled_sequence_says_nothing_more_and_frees_its_slot(stepper):
    run(stepper, *(order(f"r{n}", max_tokens=200) for n in range(4)), steps=4)
    assert (stepper.stats().running, stepper.stats().waiting) == (3, 1)
    stepper.cancel("r1")
    later = run(stepper, steps=1)
    assert (stepper.stats().running, stepper.stats().waiting) == (3, 0)
    later.events += run(stepper).events
    assert later.of("r1") == []
    assert len(later.endings("r3")) == 1


def test_a_cancel_while_waiting_is_never_computed(stepper):
    run(stepper, *(order(f"r{n}", max_tokens=50) for n in range(4)), steps=1)
    stepper.cancel("r3")
    assert run(stepper).of("r3") == []


def test_a_cancel_of_an_unknown_response_is_harmless(stepper):
    stepper.cancel("never")
    assert not stepper.busy


def test_an_answer_cut_short_stops_before_long(stepper):
    """Streaming is real: five deltas do not take many steps, whatever the answer's length would be."""
    stepper.prepare(order("a", "the fox", max_tokens=200))()
    deltas = first = 0
    while deltas < 5:
        deltas += sum(1 for event in stepper.step() if isinstance(event, Piece) and event.text)
        first = first or (deltas and stepper.stats().steps)
    stepper.cancel("a")
    assert first < 15
    assert stepper.stats().steps < 40  # a tiny model of random weights makes many halves of characters
    assert run(stepper).events == []


def test_a_bad_order_harms_no_neighbour(make):
    alone = run(make(), order("good", TALK)).answer("good")
    bad = [
        order("empty", ""),
        order("long", "word " * 300),
        order("none", max_tokens=0),
    ]
    heard = run(make(), bad[0], order("good", TALK), *bad[1:])
    assert heard.answer("good") == alone
    assert [heard.endings(name)[0].reason for name in ("empty", "long", "none")] == [
        Reason.CONTEXT,
        Reason.CONTEXT,
        Reason.LENGTH,
    ]
    assert heard.endings("empty")[0].message
    assert heard.endings("long")[0].message


@pytest.mark.parametrize("grammar", [ANY_OBJECT, '{"enum":["x"]}', '{"type":"strin"}'])
def test_an_order_in_json_ends_once_and_harms_no_neighbour(make, grammar):
    alone = run(make(), order("good", TALK)).answer("good")
    heard = run(make(), order("json", TALK, grammar=grammar, max_tokens=9), order("good", TALK))
    assert heard.answer("good") == alone
    (ending,) = heard.endings("json")
    assert bool(ending.message) == (ending.reason is Reason.ERROR)


def test_more_tokens_than_the_context_has_room_for_end_as_length(stepper):
    heard = run(stepper, order("a", "a b c", max_tokens=10_000))
    (ending,) = heard.endings("a")
    prompt_tokens = heard.pieces("a")[0].prompt_tokens
    assert ending.reason in (Reason.LENGTH, Reason.STOP)
    assert len(heard.ids("a")) == 256 - prompt_tokens or ending.reason == Reason.STOP


def stop_in(text):
    """Return a stop string from the middle of an answer, long enough to cross tokens."""
    middle = len(text) // 2
    return text[middle : middle + 3]


def test_a_stop_string_ends_the_answer_before_itself(make):
    text, ids, _ = run(make(), order("a", TALK, max_tokens=30)).answer("a")
    stop = stop_in(text)
    cut, fewer, reason = run(make(), order("a", TALK, max_tokens=30, stop=(stop,))).answer("a")
    assert (cut, reason) == (text[: text.index(stop)], "stop")
    assert fewer == ids[: len(fewer)]


@pytest.mark.parametrize("stopping", [False, True])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_resumed_after_any_id_it_goes_on_as_undisturbed(make, sampling, stopping):
    wanted = {**sampling, "max_tokens": 24}
    if stopping:
        wanted["stop"] = (stop_in(run(make(), order("a", TALK, **wanted)).text("a")),)
    whole = run(make(), order("a", TALK, **wanted))
    text, ids, reason = whole.answer("a")
    pieces = whole.pieces("a")
    resumed = [
        order(f"r{k}", TALK, ids=ids[:k], logged="".join(piece.text for piece in pieces[:k]), **wanted)
        for k in range(len(ids) + 1)
    ]
    stepper = make()
    heard = run(stepper, *resumed)
    for k, one in enumerate(resumed):
        more, later, ending = heard.answer(f"r{k}")
        assert (one.resume_text + more, ending) == (text, reason)
        if isinstance(stepper, Asking):  # behind a text that ends within a token there is one more
            assert len(ids) <= k + len(later) <= len(ids) + 1
        else:
            assert ids[:k] + later == ids


def told(pieces):
    """Return the tokens and logprobs that pieces tell, and what stands beside each."""
    tokens = decode(join(piece.logprobs for piece in pieces))
    return [(each.token, each.top) for each in tokens], [each.logprob for each in tokens]


def bytes_of(token):
    return token.encode() if isinstance(token, str) else bytes(token)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_logprobs_are_told_of_every_token_of_the_text(make, sampling):
    heard = run(make(), order("a", TALK, top_logprobs=2, **sampling), order("plain", TALK, **sampling))
    assert heard.answer("a") == heard.answer("plain")
    assert told(heard.pieces("plain")) == ([], [])
    tokens, logprobs = told(heard.pieces("a"))
    text = b"".join(bytes_of(token) for token, _ in tokens).decode(errors="replace")
    assert text == heard.text("a")
    assert all(logprob < 0 for logprob in logprobs)
    for (_, top), logprob in zip(tokens, logprobs, strict=True):
        assert len(top) == 2
        assert top[0][1] >= top[1][1]
        assert top[0][1] >= logprob


def test_logprobs_go_on_after_a_hand_over_as_undisturbed(make):
    wanted = {"max_tokens": 24, "top_logprobs": 3}
    whole = run(make(), order("a", TALK, **wanted))
    _, ids, _ = whole.answer("a")
    pieces = whole.pieces("a")
    tokens, logprobs = told(pieces)
    for k in (0, 1, 7, len(ids) - 1):
        logged = "".join(piece.text for piece in pieces[:k])
        later = run(make(), order("b", TALK, ids=ids[:k], logged=logged, **wanted))
        first, second = told(pieces[:k]), told(later.pieces("b"))
        assert [token for token, _ in (*first[0], *second[0])] == [token for token, _ in tokens]
        assert first[1] + second[1] == pytest.approx(logprobs, abs=1e-4)


def test_an_ending_already_in_the_log_is_said_at_once(make):
    text, ids, reason = run(make(), order("a", TALK)).answer("a")
    resumed = make()
    heard = run(resumed, order("b", TALK, ids=ids, logged=text))
    assert heard.of("b") == [Ended("b", Reason(reason))]
    assert resumed.stats().steps == 1


def test_a_response_ordered_again_begins_again(stepper):
    alone = run(stepper, order("a", TALK)).answer("a")
    run(stepper, order("a", TALK), steps=5)
    assert run(stepper, order("a", TALK)).answer("a") == alone


@given(data=st.data())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_schedule_of_arrivals_and_cancels_changes_an_answer(make, data):
    stepper, heard, cancelled = make(), Heard(), set()
    wanted = [
        order(
            f"r{n}",
            TALK[: data.draw(st.integers(3, len(TALK)))],
            max_tokens=data.draw(st.integers(1, 15)),
            seed=n,
            temperature=n % 2,
        )
        for n in range(data.draw(st.integers(2, 6)))
    ]
    for one in wanted:
        heard.events += run(stepper, one, steps=data.draw(st.integers(1, 6))).events
        if data.draw(st.booleans()):
            name = data.draw(st.sampled_from(wanted)).response_id
            cancelled.add(name)
            stepper.cancel(name)
    heard.events += run(stepper).events
    for one in wanted:
        if one.response_id not in cancelled:
            assert heard.answer(one.response_id) == run(stepper, one).answer(one.response_id)


def test_closing_lets_go_of_everything(stepper):
    run(stepper, order("a", max_tokens=100), steps=2)
    taken = stepper.stats().steps
    stepper.close()
    assert stepper.stats().steps == taken >= 2
