"""Chunks of servers that differ in what they leave out."""

from __future__ import annotations

import pytest

from shared.logprobs import LEAST, Scored
from worker.engines.openai import chunk
from worker.engines.openai.chunk import Usage


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"choices": [{"delta": {"content": "a"}}]}, "a"),
        ({"choices": [{"text": "a"}]}, "a"),
        (
            {
                "choices": [
                    {"delta": {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}}
                ]
            },
            "ab",
        ),
        ({"choices": [{"delta": {"content": [{"type": "thinking", "thinking": [{"text": "hm"}]}, 7]}}]}, ""),
        ({"choices": [{"delta": {"role": "assistant"}}]}, ""),
        ({"choices": [{"delta": {"content": None, "reasoning_content": "hm", "reasoning": "hm"}}]}, ""),
        ({"choices": [{"delta": {"content": None, "tool_calls": [{"index": 0}]}}]}, ""),
        ({"choices": [{"delta": {"content": None}}]}, ""),
        ({"choices": [{"delta": None}]}, ""),
        ({"choices": []}, ""),
        ({"choices": None}, ""),
        ({"choices": ["x"]}, ""),
        ({}, ""),
    ],
)
def test_the_text_of_a_chat_and_of_a_completion(said, text):
    assert chunk.text(said) == text


@pytest.mark.parametrize("error", [None, "", {}])
def test_an_empty_error_is_none(error):
    assert not chunk.failed({"choices": [], "error": error})
    assert not chunk.failed({"choices": []})
    assert chunk.failed({"error": {"message": "no"}})
    assert chunk.failed({"error": "no"})


def test_an_end_is_told_by_its_reason_alone():
    assert chunk.finish({"choices": [{"finish_reason": "stop"}]}) == "stop"
    assert chunk.finish({"choices": [{"finish_reason": None}]}) == ""


def test_usage_may_lack_anything():
    assert chunk.usage({"usage": None}) is None
    assert chunk.usage({"usage": {"prompt_tokens": 3}}) == Usage(3, 0, 0)
    whole = {"prompt_tokens": 3, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 2}}
    assert chunk.usage({"usage": whole}) == Usage(3, 2, 5)
    odd = {"prompt_tokens": "3", "completion_tokens": -5, "prompt_tokens_details": None}
    assert chunk.usage({"usage": odd}) == Usage(0, 0, 0)


def test_logprobs_are_those_of_bytes_where_bytes_are_told():
    half = {"token": "\ufffd", "logprob": -1, "bytes": [0xF0, 0x9F], "top_logprobs": None}
    plain = {"token": "a", "logprob": None, "bytes": None, "top_logprobs": [half]}
    said = {"choices": [{"logprobs": {"content": [half, plain]}}]}
    assert chunk.scores(said) == [
        Scored((0xF0, 0x9F), -1.0),
        Scored("a", LEAST, (((0xF0, 0x9F), -1.0),)),
    ]
    assert chunk.scores({"choices": [{"logprobs": None}]}) == []
