"""Text out of ids: whole characters, and never the beginning of a stop string."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from worker.detokenizer import StopStrings, TextStream, TokenDecoder

BROKEN = "\N{REPLACEMENT CHARACTER}"
WRITTEN = st.text(alphabet="the end\n čé你好👍🏽👩‍👧STOP" + BROKEN, max_size=24)


@st.composite
def token_ids(draw, tokenizer, max_parts=8):
    """Written text, cut anywhere, among ids at random (halves of characters, special tokens)."""
    ids: list[int] = []
    for _ in range(draw(st.integers(0, max_parts))):
        written = tokenizer.encode(draw(WRITTEN)).ids
        ids += written[draw(st.integers(0, 2)) : len(written) - draw(st.integers(0, 2))]
        ids += draw(st.lists(st.integers(0, tokenizer.get_vocab_size() - 1), max_size=4))
    return ids


@st.composite
def text_and_stops(draw):
    text = draw(WRITTEN)
    cuts = st.tuples(st.integers(0, len(text)), st.integers(1, 6)).map(lambda c: text[c[0] : c[0] + c[1]])
    return text, draw(st.lists(st.one_of(cuts, st.text("the STOP", min_size=1, max_size=4)), max_size=3))


def cut(text, stops):
    """Say plainly what a stop string does: read letter by letter until one is complete."""
    for end in range(1, len(text) + 1):
        starts = [end - len(stop) for stop in stops if stop and text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)], True
    return text, False


def without_beginning(text, stops):
    """Leave off the longest end of ``text`` that may be the beginning of a stop string."""
    begun = [n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n])]
    return text[: len(text) - max(begun, default=0)]


def decode(tokenizer, ids):
    return tokenizer.decode(ids, skip_special_tokens=True)


def stream(text, ids):
    parts = []
    for token_id in ids:
        parts.append(text.feed(token_id))
        if text.stopped:
            return parts
    return [*parts, text.flush()]


@given(data=st.data())
def test_the_parts_join_to_the_text_decoded_at_once(tokenizer, data):
    ids = data.draw(token_ids(tokenizer))
    assert "".join(stream(TextStream(TokenDecoder(tokenizer)), ids)) == decode(tokenizer, ids)


@given(data=st.data())
def test_with_stop_strings_they_join_to_that_text_cut_at_the_first(tokenizer, data):
    ids = data.draw(token_ids(tokenizer))
    whole = decode(tokenizer, ids)
    places = st.integers(0, max(0, len(whole) - 1))
    stops = data.draw(
        st.lists(st.tuples(places, st.integers(1, 5)).map(lambda c: whole[c[0] : c[0] + c[1]]), max_size=3)
    )
    text = TextStream(TokenDecoder(tokenizer), stops)
    assert ("".join(stream(text, ids)), text.stopped) == cut(whole, stops)


@given(data=st.data())
def test_what_is_shown_before_a_stop_string_never_changes(tokenizer, data):
    """No part may hold U+FFFD for half a character that a later id completes."""
    ids = tokenizer.encode(data.draw(WRITTEN.filter(lambda text: BROKEN not in text))).ids
    parts = stream(TextStream(TokenDecoder(tokenizer)), ids)
    assert not any(BROKEN in part for part in parts)


@given(text_and_stops(), st.data())
def test_a_cut_depends_on_the_text_not_on_its_parts(case, data):
    text, stops = case
    holder, shown, rest = StopStrings(stops), "", text
    while rest and not holder.met:
        size = data.draw(st.integers(1, len(rest)))
        shown, rest = shown + holder.feed(rest[:size]), rest[size:]
        assert holder.met or shown == without_beginning(text[: len(text) - len(rest)], stops)
    shown += "" if holder.met else holder.flush()
    assert (shown, holder.met) == cut(text, stops)


def test_a_half_character_is_held_back_until_it_is_whole(tokenizer):
    ids = [token_id for byte in "👍".encode() for token_id in byte_ids(tokenizer, byte)]
    text = TextStream(TokenDecoder(tokenizer))
    assert [text.feed(token_id) for token_id in ids] == ["", "", "", "👍"]


def test_a_character_never_finished_is_shown_as_a_replacement_at_the_end(tokenizer):
    text = TextStream(TokenDecoder(tokenizer))
    shown = [text.feed(token_id) for token_id in byte_ids(tokenizer, 0xE4)]
    assert [*shown, text.flush()] == ["", BROKEN]


def test_a_stop_string_across_tokens_is_never_begun(tokenizer):
    text = TextStream(TokenDecoder(tokenizer), ["STOP"])
    ids = [token_id for byte in b"a ST STOP!" for token_id in byte_ids(tokenizer, byte)]
    assert "".join(stream(text, ids)) == "a ST "
    assert text.stopped


def test_a_stop_string_is_found_in_what_the_end_flushes():
    """Behind the stop string stands half a character, which holds both back."""
    joined = Tokenizer(models.BPE(vocab={"aä": 0}, merges=[]))  # the bytes of a and of half a 你
    joined.decoder = decoders.ByteLevel()
    text = TextStream(TokenDecoder(joined), ["a"])
    assert (text.feed(0), text.stopped) == ("", False)
    assert (text.flush(), text.stopped) == ("", True)


def test_a_run_of_bytes_that_never_becomes_text_is_not_held_for_ever(tokenizer):
    (broken,) = byte_ids(tokenizer, 0xFF)
    text = TextStream(TokenDecoder(tokenizer))
    shown = "".join(text.feed(broken) for _ in range(500))
    assert len(shown) > 450
    assert shown + text.flush() == BROKEN * 500


def test_a_character_behind_a_run_of_broken_bytes_stays_whole(tokenizer):
    (broken,) = byte_ids(tokenizer, 0xFF)
    halves = [token_id for byte in "👍".encode() for token_id in byte_ids(tokenizer, byte)]
    for count in range(40):
        text = TextStream(TokenDecoder(tokenizer))
        assert "".join(stream(text, [broken] * count + halves)) == BROKEN * count + "👍"


def test_special_tokens_make_no_text_however_many(tokenizer):
    text = TextStream(TokenDecoder(tokenizer))
    letter = tokenizer.encode("q").ids
    assert "".join(stream(text, [0] * 100 + letter + [1] * 100)) == "q"


@pytest.fixture
def byte_fallback():
    """A tokenizer in the manner of sentencepiece: unknown characters as bytes, spaces as a mark."""
    vocabulary = {"▁a": 0, "b": 1, "▁": 2} | {f"<0x{byte:02X}>": 3 + byte for byte in range(256)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def test_byte_fallback_reads_as_decoded_at_once(byte_fallback):
    ids = [0, 1, *(3 + byte for byte in "你".encode()), 0, 1, 1, 2, 0]
    assert "".join(stream(TextStream(TokenDecoder(byte_fallback)), ids)) == decode(byte_fallback, ids)


@given(st.lists(st.integers(0, 258), max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_byte_fallback_of_any_bytes_never_raises_and_always_goes_on(byte_fallback, ids):
    text = TextStream(TokenDecoder(byte_fallback))
    assert "".join(stream(text, [*ids, 0, 1])).endswith("ab")


def byte_ids(tokenizer, byte):
    """Return the id of a single byte (byte-level alphabet of GPT-2)."""
    mark = next(m for m in tokenizer.get_vocab() if len(m) == 1 and bytes_of(m) == byte)
    return [tokenizer.token_to_id(mark)]


def bytes_of(mark):
    table, spare = {}, 256
    for byte in range(256):
        printable = 33 <= byte <= 126 or 161 <= byte <= 172 or 174 <= byte <= 255
        table[chr(byte if printable else spare)] = byte
        spare += 0 if printable else 1
    return table[mark]
