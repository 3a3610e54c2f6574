"""One response in the engine: its counters, its ending, and going on where another worker stopped."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.log import Reason
from shared.request import Message, Sampling
from worker.detokenizer import TextStream, TokenDecoder
from worker.engines.contract import Ended, Order, Piece
from worker.sequence import DIVERGED, Sequence

END = 1
"""Id of the end token of the tests' tokenizer."""


def make(tokenizer, *, max_tokens=100, stop=(), ids=(), text="", prompt=(5, 6, 7), context=1000):
    sampling = Sampling(max_tokens=max_tokens, seed=1, stop=tuple(stop))
    order = Order("resp", (Message("user", "x"),), sampling, tuple(ids), text)
    stream = TextStream(TokenDecoder(tokenizer), stop)
    return Sequence(order, prompt, stream, context_length=context, end_ids={END})


def run(sequence, ids):
    """Feed ids until the ending; return the pieces and the reason."""
    pieces = [sequence.accept(token_id) for token_id in ids if sequence.ending is None]
    return pieces, sequence.ending


def shown(pieces):
    return "".join(piece.text for piece in pieces)


def generated(pieces):
    return [token_id for piece in pieces for token_id in piece.ids]


def test_computed_catches_up_with_known(tokenizer):
    sequence = make(tokenizer, prompt=(5, 6, 7), ids=(8, 9))
    sequence.resume()
    assert (sequence.known, sequence.missing) == (5, 5)
    sequence.computed += 4
    assert (sequence.missing, sequence.ids(4, 1)) == (1, [9])


def test_known_ids_run_from_the_prompt_into_what_is_generated(tokenizer):
    sequence = make(tokenizer, prompt=(5, 6, 7), ids=(8, 9))
    sequence.resume()
    known = [5, 6, 7, 8, 9]
    assert all(
        sequence.ids(start, count) == known[start : start + count]
        for start in range(5)
        for count in range(1, 6 - start)
    )


def test_the_first_piece_alone_names_the_prompt_tokens(tokenizer):
    sequence = make(tokenizer)
    ids = tokenizer.encode("abc").ids
    assert [sequence.accept(token_id).prompt_tokens for token_id in ids] == [3] + [0] * (len(ids) - 1)


def test_an_end_token_ends_it_and_is_counted(tokenizer):
    sequence = make(tokenizer)
    pieces, reason = run(sequence, [*tokenizer.encode("fox").ids, END, 99])
    assert (shown(pieces), reason, generated(pieces)[-1]) == ("fox", Reason.STOP, END)
    assert sequence.last_word() == [Ended("resp", Reason.STOP)]


def test_the_limit_ends_it_and_flushes_what_was_held_back(tokenizer):
    ids = tokenizer.encode("the STO").ids
    pieces, reason = run(make(tokenizer, max_tokens=len(ids), stop=["STOP"]), ids)
    assert (shown(pieces), reason) == ("the STO", Reason.LENGTH)


def test_an_end_token_at_the_limit_is_a_stop(tokenizer):
    pieces, reason = run(make(tokenizer, max_tokens=1), [END])
    assert (reason, generated(pieces)) == (Reason.STOP, [END])


def test_the_context_ends_it_before_max_tokens(tokenizer):
    ids = tokenizer.encode("the quick brown fox").ids
    pieces, reason = run(make(tokenizer, prompt=range(10), context=12), ids)
    assert (len(generated(pieces)), reason) == (2, Reason.LENGTH)


def test_no_token_allowed_ends_it_at_once(tokenizer):
    assert make(tokenizer, max_tokens=0).resume() == [Ended("resp", Reason.LENGTH)]


def test_a_stop_string_ends_it_and_its_ids_are_counted(tokenizer):
    ids = tokenizer.encode("a STOP b").ids
    pieces, reason = run(make(tokenizer, stop=["STOP"]), ids)
    assert (shown(pieces), reason) == ("a ", Reason.STOP)
    assert generated(pieces) == ids[: len(generated(pieces))]
    assert tokenizer.decode(generated(pieces)).startswith("a STOP")


def test_ids_behind_an_ending_in_one_step_count_and_show_nothing(tokenizer):
    sequence = make(tokenizer)
    letter = tokenizer.encode("q").ids
    assert sequence.accept(*letter, END, *letter) == Piece("resp", "q", (*letter, END, *letter), 3)
    assert len(sequence.generated) == 3


@st.composite
def answers(draw, tokenizer):
    """Ids of an answer, with halves of characters and special tokens, and stop strings that may be in it."""
    text = draw(st.text("the end\nčé你👍STOP", max_size=16))
    ids = tokenizer.encode(text).ids
    ids += draw(st.lists(st.integers(2, tokenizer.get_vocab_size() - 1), max_size=6))
    ids += draw(st.sampled_from([[], [END]]))
    whole = tokenizer.decode(ids)
    spot = draw(st.integers(0, len(whole)))
    stops = draw(st.sampled_from([[], ["STOP"], [whole[spot : spot + 3] or "x", "end"]]))
    return ids, stops


def logged_at(pieces, k):
    """Return what the log holds after ``k`` pieces: an entry is written when there is text to write."""
    written = max((n for n in range(1, k + 1) if pieces[n - 1].text), default=0)
    return generated(pieces[:written]), shown(pieces[:written])


@given(data=st.data())
def test_resumed_at_any_point_it_goes_on_as_if_undisturbed(tokenizer, data):
    ids, stops = data.draw(answers(tokenizer))
    max_tokens = data.draw(st.integers(1, len(ids) + 1))
    pieces, reason = run(make(tokenizer, max_tokens=max_tokens, stop=stops), ids)
    for k in range(len(pieces) + 1):
        have, text = logged_at(pieces, k)
        resumed = make(tokenizer, max_tokens=max_tokens, stop=stops, ids=have, text=text)
        news = resumed.resume()
        more, ending = run(resumed, ids[len(have) :])
        told = [event for event in news if isinstance(event, Piece)]
        assert text + shown(told) + shown(more) == shown(pieces)
        assert (have + generated(told) + generated(more), ending) == (generated(pieces), reason)


@given(data=st.data())
def test_resumed_from_ids_whose_text_was_still_held_it_goes_on_alike(tokenizer, data):
    """A log may also hold every id, with text or without."""
    ids, stops = data.draw(answers(tokenizer))
    pieces, reason = run(make(tokenizer, stop=stops, max_tokens=len(ids) or 1), ids)
    for k in range(len(pieces) + 1):
        resumed = make(tokenizer, stop=stops, max_tokens=len(ids) or 1, ids=ids[:k], text=shown(pieces[:k]))
        news = resumed.resume()
        more, ending = run(resumed, ids[k:])
        assert shown(pieces[:k]) + shown(e for e in news if isinstance(e, Piece)) + shown(more) == shown(
            pieces
        )
        assert ending == reason


@pytest.mark.parametrize(
    ("text", "options", "reason"),
    [
        ("fox<|im_end|>", {}, Reason.STOP),
        ("foxSTOP", {"stop": ["STOP"]}, Reason.STOP),
        ("fox", {"max_tokens": -1}, Reason.LENGTH),
    ],
)
def test_an_ending_already_logged_ends_it_at_once_without_a_new_id(tokenizer, text, options, reason):
    """The worker died between its last append and its finish."""
    ids = tokenizer.encode(text).ids
    if options.get("max_tokens"):
        options = {"max_tokens": len(ids)}
    assert make(tokenizer, ids=ids, text="fox", **options).resume() == [Ended("resp", reason)]


def test_text_held_back_until_a_logged_ending_is_told_without_ids(tokenizer):
    ids = tokenizer.encode("foxST").ids
    resumed = make(tokenizer, ids=ids, text="fox", stop=["STOP"], max_tokens=len(ids))
    assert resumed.resume() == [Piece("resp", "ST", ()), Ended("resp", Reason.LENGTH)]


def test_a_log_that_shows_more_than_is_replayed_is_not_shown_twice(tokenizer):
    """A worker of another version may have held back less."""
    ids = tokenizer.encode("foxST").ids
    resumed = make(tokenizer, ids=ids, text="foxST", stop=["STOP"])
    assert resumed.resume() == []
    pieces, _ = run(resumed, tokenizer.encode(" q").ids)
    assert shown(pieces) == " q"


def test_a_log_written_by_another_tokenizer_is_refused(tokenizer):
    resumed = make(tokenizer, ids=tokenizer.encode("fox").ids, text="dog")
    assert resumed.resume() == [Ended("resp", Reason.ERROR, DIVERGED)]
