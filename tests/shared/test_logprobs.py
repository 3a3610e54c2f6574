from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.log import escape
from shared.logprobs import LEAST, Scored, decode, encode, join, packed, rounded, spelled, unpacked, wire

TOKENS = st.binary(max_size=6).map(spelled)
LOGPROBS = st.floats(-100, 0).map(rounded)
SCORED = st.builds(Scored, TOKENS, LOGPROBS, st.lists(st.tuples(TOKENS, LOGPROBS), max_size=3).map(tuple))


@given(st.lists(SCORED, max_size=4), st.lists(SCORED, max_size=4))
def test_what_is_logged_is_read_back_also_joined(one, two):
    assert decode(join([encode(one), encode(two)])) == (*one, *two)


@given(st.lists(st.tuples(st.text(), st.lists(SCORED, max_size=2) | st.none()), max_size=6))
def test_pieces_joined_end_to_end_come_apart_into_all_text_and_all_logprobs(deltas):
    pieces, texts, tokens = [], [], []
    for text, scored in deltas:
        raw = escape(text).encode()
        pieces.append(raw if scored is None else packed(raw, encode(scored).encode()))
        texts.append(raw)
        tokens += scored or []
    text, logprobs = unpacked(b"".join(pieces))
    assert text == b"".join(texts)
    assert decode(logprobs) == tuple(tokens)


def test_the_wire_spells_tokens_out_with_their_bytes():
    logged = encode(
        [Scored("é", -0.5, (("é", -0.5), ((0xF0, 0x9F), -1.25))), Scored(spelled(b"\x9f\n"), rounded(-2e9))]
    )
    assert json.loads(bytes(wire(logged))) == [
        {
            "token": "é",
            "logprob": -0.5,
            "bytes": [0xC3, 0xA9],
            "top_logprobs": [
                {"token": "é", "logprob": -0.5, "bytes": [0xC3, 0xA9]},
                {"token": r"bytes:\xf0\x9f", "logprob": -1.25, "bytes": [0xF0, 0x9F]},
            ],
        },
        {"token": r"bytes:\x9f\x0a", "logprob": LEAST, "bytes": [0x9F, 10], "top_logprobs": []},
    ]
    assert bytes(wire("")) == b"[]"


def test_what_is_no_logprobs_is_said():
    with pytest.raises(msgspec.DecodeError):
        decode('["a"')
