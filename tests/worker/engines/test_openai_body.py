"""What an upstream is asked."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from engines import order

from shared.request import ANY_OBJECT
from worker.engines.openai.body import Flavour, Resume, Way, body_of, flavour_of, refused, way_of

STARTED = order("a", "Hi", ids=(0, 1), logged="Hello there ")


def test_what_was_asked_is_passed_on_and_what_is_neutral_is_left_out():
    asked = order("a", "Hi", temperature=0.5, top_p=0.9, stop=("END",), frequency_penalty=0.5, top_logprobs=0)
    assert body_of(asked, "m", Way(), 12) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 12,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 11,
        "stop": ["END"],
        "frequency_penalty": 0.5,
        "logprobs": True,
    }
    assert body_of(order("a", top_logprobs=3), "m", Way(), 1)["top_logprobs"] == 3


@pytest.mark.parametrize(
    ("flavour", "more"),
    [
        (Flavour.VLLM, {"add_generation_prompt": False, "continue_final_message": True}),
        (Flavour.SGLANG, {"add_generation_prompt": False, "continue_final_message": True}),
        (Flavour.LLAMA_CPP, {}),
    ],
)
def test_a_server_that_can_goes_on_behind_the_text(flavour, more):
    way = way_of(STARTED, flavour, None)
    body = body_of(STARTED, "m", way, 12)
    assert way.resume is Resume.CONTINUE
    assert body["messages"][-1] == {"role": "assistant", "content": "Hello there"}
    assert {name: body[name] for name in more} == more
    assert ("continue_final_message" in body) == bool(more)


def test_any_other_server_is_asked_the_same_again():
    assert way_of(STARTED, Flavour.OTHER, None).resume is Resume.REPLAY
    assert way_of(STARTED, Flavour.VLLM, Resume.REPLAY).resume is Resume.REPLAY
    assert way_of(STARTED, Flavour.OTHER, Resume.CONTINUE).resume is Resume.CONTINUE
    assert way_of(order("a"), Flavour.VLLM, None).resume is Resume.REPLAY  # there is nothing to go on behind


def test_a_raw_prompt_is_asked_as_one_and_goes_on_anywhere():
    raw = replace(STARTED, raw=True)
    way = way_of(raw, Flavour.OTHER, None)
    body = body_of(raw, "m", way, 5)
    assert body["prompt"] == "HiHello there "
    assert "messages" not in body
    assert body_of(raw, "m", Way(), 5)["prompt"] == "Hi"


def test_logprobs_of_a_raw_prompt_are_refused():
    assert refused(replace(order("a", top_logprobs=1), raw=True))
    assert not refused(order("a", top_logprobs=1))


def test_servers_are_told_by_the_owner_of_their_models():
    assert [flavour_of(owner) for owner in ("vllm", "sglang", "llama.cpp", "llamacpp", "me", "")] == [
        Flavour.VLLM,
        Flavour.SGLANG,
        Flavour.LLAMA_CPP,
        Flavour.LLAMA_CPP,
        Flavour.OTHER,
        Flavour.OTHER,
    ]


def test_an_answer_in_json_is_asked_for_as_a_chat_says_it():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    body = body_of(order("a", grammar=json.dumps(schema)), "m", Way(), 1)
    named = {"name": "answer", "schema": schema, "strict": True}
    assert body["response_format"] == {"type": "json_schema", "json_schema": named}
    assert body_of(order("a", grammar=ANY_OBJECT), "m", Way(), 1)["response_format"] == {
        "type": "json_object"
    }


@pytest.mark.parametrize("wanted", [None, Resume.CONTINUE])
def test_an_answer_in_json_is_asked_again_since_a_server_would_begin_its_schema_anew(wanted):
    started = order("a", ids=(0, 1), logged='{"a": ', grammar=ANY_OBJECT)
    assert way_of(started, Flavour.VLLM, wanted).resume is Resume.REPLAY


def test_json_behind_a_raw_prompt_is_refused():
    assert "JSON" in refused(replace(order("a", grammar=ANY_OBJECT), raw=True))
    assert not refused(order("a", grammar=ANY_OBJECT))
