from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.log import new_response_id
from shared.request import ANY_OBJECT, Message, Request, Sampling, decode, encode

Text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    st.lists(st.builds(Message, st.sampled_from(["system", "user", "assistant"]), Text), max_size=4),
    st.builds(
        Sampling,
        max_tokens=st.integers(1, 4096),
        seed=st.integers(0, 2**63 - 1),
        temperature=st.floats(0, 2),
        top_p=st.floats(0.01, 1),
        stop=st.lists(Text, max_size=3).map(tuple),
        frequency_penalty=st.floats(-2, 2),
        presence_penalty=st.floats(-2, 2),
        top_logprobs=st.none() | st.integers(0, 20),
        grammar=st.sampled_from(["", ANY_OBJECT]),
    ),
)
def test_what_is_stored_is_read_back_alike(messages, sampling):
    request = Request(
        new_response_id(0), "model", "alice", tuple(messages), sampling, echo={"metadata": {"a": "b"}}
    )

    assert decode(encode(request)) == request


def test_a_field_that_a_newer_version_added_is_ignored():
    request = Request(new_response_id(0), "m", "p", (), Sampling(1, 1))
    newer = msgspec.json.encode(msgspec.json.decode(encode(request)) | {"added_later": 1})

    assert decode(newer) == request


def test_plain_text_has_no_grammar_so_that_an_older_version_reads_the_same():
    assert b"grammar" not in encode(Request(new_response_id(0), "m", "p", (), Sampling(1, 1)))


def test_what_is_not_a_request_is_refused():
    with pytest.raises(msgspec.ValidationError):
        decode(b'{"response_id": 1}')
