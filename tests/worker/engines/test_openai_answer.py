"""What chunks make of an order."""

from __future__ import annotations

import itertools

from engines import order
from hypothesis import given
from hypothesis import strategies as st

from shared.log import Reason
from shared.logprobs import decode
from worker.engines.contract import Ended, Piece
from worker.engines.openai.answer import BROKE_OFF, DIVERGED, UNSCORED, Answer
from worker.engines.openai.body import Resume, Way

REPLAY, CONTINUE = Way(), Way(Resume.CONTINUE)


def chunk(text="", finish=None, usage=None, logprobs=None):
    choice = {"delta": {"content": text}, "finish_reason": finish, "logprobs": logprobs}
    return {"choices": [choice]} | ({"usage": usage} if usage else {})


def usage(prompt, generated, cached=0):
    details = {"cached_tokens": cached}
    return {"prompt_tokens": prompt, "completion_tokens": generated, "prompt_tokens_details": details}


def heard(answer, *chunks, whole=True):
    events = [event for each in chunks for event in answer.feed(each)]
    return events + answer.finish(whole=whole)


def text_of(events):
    return "".join(event.text for event in events if isinstance(event, Piece))


def ids_of(events):
    return [token_id for event in events if isinstance(event, Piece) for token_id in event.ids]


def test_a_chunk_counts_as_a_token_and_the_last_word_on_usage_says_what_it_did_not():
    events = heard(
        Answer(order("a"), REPLAY),
        chunk("Hel"),
        chunk("lo", "stop"),
        {"choices": [], "usage": usage(7, 5, 4)},
    )
    assert events == [
        Piece("a", "Hel", (0,)),
        Piece("a", "lo", (1,)),
        Piece("a", "", (2, 3, 4), 7, 4),
        Ended("a", Reason.STOP),
    ]


def test_usage_in_each_chunk_is_believed():
    events = heard(
        Answer(order("a"), REPLAY),
        chunk("Hel", usage=usage(7, 2)),
        chunk("lo", "length", usage=usage(7, 3)),
    )
    assert events == [Piece("a", "Hel", (0, 1), 7), Piece("a", "lo", (2,)), Ended("a", Reason.LENGTH)]


def test_a_replay_says_only_what_is_not_logged():
    one = order("a", ids=(0, 1, 2), logged="Hello w")
    events = heard(Answer(one, REPLAY), *map(chunk, ("Hel", "lo", " wor", "ld")), chunk("", "stop"))
    assert (text_of(events), ids_of(events)) == ("orld", [3])
    assert events[-1] == Ended("a", Reason.STOP)


def test_a_replay_that_says_something_else_ends_it_honestly():
    answer = Answer(order("a", ids=(0,), logged="Hello"), REPLAY)
    assert answer.feed(chunk("Hi")) == [Ended("a", Reason.WORKER_LOST, DIVERGED)]
    assert answer.feed(chunk("more")) == answer.finish(whole=True) == []


def test_a_replay_that_ends_before_what_is_logged_has_diverged():
    events = heard(Answer(order("a", ids=(0,), logged="Hello"), REPLAY), chunk("Hel", "stop"))
    assert events[-1] == Ended("a", Reason.WORKER_LOST, DIVERGED)


def test_behind_a_text_the_answer_goes_on_and_its_white_space_comes_again():
    one = order("a", ids=(0, 1), logged="Hello ")
    for begin in (" world", "world"):
        events = heard(Answer(one, CONTINUE), chunk(begin, "stop", usage(9, 1)))
        assert text_of(events) == "world"
        assert ids_of(events) == [2]
        assert events[0].prompt_tokens == 7  # what was logged is no part of the prompt


def test_a_raw_prompt_holds_the_text_to_the_last_character():
    one = order("a", ids=(0,), logged="2 ")
    raw = Answer(type(one)(one.response_id, one.messages, one.sampling, (0,), "2 ", raw=True), CONTINUE)
    assert text_of(heard(raw, {"choices": [{"text": " 3", "finish_reason": "stop"}]})) == " 3"


def test_a_stream_that_breaks_off_is_no_whole_answer():
    assert heard(Answer(order("a"), REPLAY), chunk("x"), whole=False)[-1] == Ended(
        "a", Reason.ERROR, BROKE_OFF
    )
    assert heard(Answer(order("a"), REPLAY), chunk("x", "stop"), whole=False)[-1] == Ended("a", Reason.STOP)


def test_an_error_in_the_stream_ends_it():
    (ended,) = Answer(order("a"), REPLAY).feed({"error": {"message": "secret detail"}})
    assert ended.reason is Reason.ERROR
    assert "secret" not in ended.message


def test_an_upstream_that_makes_more_than_was_asked_is_cut():
    events = heard(Answer(order("a", max_tokens=2), REPLAY), *map(chunk, "abc"))
    assert (text_of(events), ids_of(events)) == ("ab", [0, 1])
    assert events[-1] == Ended("a", Reason.LENGTH)


def test_text_that_an_upstream_has_held_back_until_its_last_chunk_is_not_cut_where_it_counts():
    """A character that lay in two tokens, or what might have become a stop string: text without a token more."""
    events = heard(
        Answer(order("a", max_tokens=2), REPLAY),
        chunk("a", usage=usage(7, 1)),
        chunk("", usage=usage(7, 2)),
        chunk("bc", "length", usage(7, 2)),
    )
    assert (text_of(events), ids_of(events)) == ("abc", [0, 1])
    assert events[-1] == Ended("a", Reason.LENGTH)


def test_reasoning_before_the_text_counts_as_the_upstream_counts_it():
    thought = {"choices": [{"delta": {"reasoning_content": "hm"}}], "usage": usage(7, 3)}
    answer = Answer(order("a"), REPLAY)
    events = answer.feed(thought)
    assert not answer.begun  # another upstream may still be asked
    events += heard(answer, chunk("x", "stop", usage(7, 4)))
    assert (text_of(events), ids_of(events)) == ("x", [0, 1, 2, 3])


def test_an_ending_of_another_kind_is_told():
    events = heard(Answer(order("a"), REPLAY), chunk("", "content_filter"))
    assert events == [Ended("a", Reason.ERROR, "The upstream ended the answer: content_filter.")]


def score(*tokens):
    return {
        "content": [
            {"token": t, "logprob": -0.5, "top_logprobs": [{"token": "x", "logprob": -1}]} for t in tokens
        ]
    }


def test_logprobs_ride_with_their_text_and_count_tokens():
    answer = Answer(order("a", top_logprobs=1), REPLAY)
    events = heard(
        answer, chunk("Hello", logprobs=score("Hel", "lo")), chunk("", "stop", logprobs=score("<end>"))
    )
    assert ids_of(events) == [0, 1]
    assert [each.token for each in decode(events[0].logprobs)] == ["Hel", "lo"]
    assert len(events) == 2  # of the end token nothing is told


def test_what_a_replay_says_again_has_its_logprobs_in_the_log():
    answer = Answer(order("a", ids=(0,), logged="Hel", top_logprobs=1), REPLAY)
    events = heard(answer, chunk("Hel", logprobs=score("Hel")), chunk("lo", "stop", logprobs=score("lo")))
    assert [[each.token for each in decode(e.logprobs)] for e in events if isinstance(e, Piece)] == [["lo"]]


def test_logprobs_that_are_asked_and_do_not_come_are_said_to_be_lacking():
    assert Answer(order("a", top_logprobs=0), REPLAY).feed(chunk("Hel")) == [
        Ended("a", Reason.ERROR, UNSCORED)
    ]


@given(st.text(max_size=30), st.lists(st.integers(0, 30), max_size=6), st.integers(0, 30))
def test_however_a_text_is_cut_a_replay_gives_exactly_the_rest(text, cuts, logged):
    borders = sorted({0, *(min(cut, len(text)) for cut in cuts), len(text)})
    chunks = [chunk(text[a:b]) for a, b in itertools.pairwise(borders)]
    logged = min(logged, len(text))
    one = order("a", ids=range(min(1, logged)), logged=text[:logged], max_tokens=100)
    events = heard(Answer(one, REPLAY), *chunks, chunk("", "stop"))
    assert text_of(events) == text[logged:]
    assert events[-1] == Ended("a", Reason.STOP)
