"""What refusals mean, in the words of several servers."""

from __future__ import annotations

import json

import pytest

from worker.engines.openai.refusal import Kind, refusal, stream_refusal

VLLM = "This model's maximum context length is 256 tokens"


def body(message, **fields):
    return json.dumps({"error": {"message": message, **fields}}).encode()


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504])
def test_what_passes_is_tried_later(status):
    assert refusal(status, {}, b"", "").kind is Kind.LATER


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("-1", 0.0), ("Wed, 21 Oct 2026", 0.0), ("", 0.0)]
)
def test_the_pause_asked_for_is_kept(header, seconds):
    assert refusal(429, {"retry-after": header}, b"", "").seconds == seconds


@pytest.mark.parametrize(
    ("said", "kind", "room"),
    [
        (body(f"{VLLM}. However, your request has 300 input tokens."), Kind.CONTEXT, 0),
        (body(f"{VLLM} and your request has 200 input tokens"), Kind.ROOM, 56),
        (body(f"{VLLM}. However, you requested 300 tokens (44 in the messages, 256 in the completion)."), Kind.ROOM, 212),
        (body("the request exceeds the available context size, try increasing it", type="exceed_context_size_error"), Kind.CONTEXT, 0),
        (body("too long", code="context_length_exceeded"), Kind.CONTEXT, 0),
        (json.dumps({"error": "`inputs` tokens + `max_new_tokens` must be <= 256. Given: 200 `inputs` tokens and 100 `max_new_tokens`"}).encode(), Kind.ROOM, 56),
    ],
)  # fmt: skip
def test_what_is_too_long_is_told_from_what_leaves_less_room(said, kind, room):
    why = refusal(400, {}, said, "")
    assert (why.kind, why.room) == (kind, room)


@pytest.mark.parametrize(
    "said",
    [
        body("temperature must be below 2"),
        json.dumps({"detail": "temperature must be below 2"}).encode(),
        json.dumps({"message": "temperature must be below 2"}).encode(),
        json.dumps({"error": "temperature must be below 2"}).encode(),
    ],
)
def test_other_refusals_are_final_and_say_the_upstreams_words(said):
    why = refusal(400, {}, said, "")
    assert why.kind is Kind.FINAL
    assert why.sentence == "The upstream refused the request (400): temperature must be below 2"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "CUDA", "code": 500}, Kind.LATER),
        ({"message": "temperature must be below 2", "code": 400}, Kind.FINAL),
        ({"message": f"{VLLM}. However, your request has 300 input tokens."}, Kind.CONTEXT),
        ({"message": "overloaded"}, Kind.LATER),
        ("Input validation error: `temperature` must be strictly positive", Kind.FINAL),
        ("Model is overloaded", Kind.LATER),
        ([1], Kind.LATER),
    ],
)
def test_an_error_that_is_the_first_word_of_a_stream_is_judged_as_a_refusal(error, kind):
    assert stream_refusal(error, "").kind is kind


def test_a_key_is_never_repeated():
    said = body("bad key hunter2 or sk-abcdefghijkl")
    assert "hunter2" not in refusal(400, {}, said, "hunter2").sentence
    assert "abcdefghijkl" not in refusal(400, {}, said, "hunter2").sentence
    assert refusal(401, {}, body("Incorrect API key: hunter2"), "hunter2").kind is Kind.FINAL
    assert "hunter2" not in refusal(401, {}, body("Incorrect API key: hunter2"), "hunter2").sentence


def test_a_proxys_page_and_an_answer_that_does_not_stream_are_not_shown():
    assert (
        refusal(404, {}, b"<html>internal-host</html>", "").sentence
        == "The upstream refused the request (404)"
    )
    assert "does not stream" in refusal(200, {}, b'{"choices":[]}', "").sentence
