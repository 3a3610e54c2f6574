"""Chat completions and completions: the same log in other words."""

import json

import pytest
from conformance_kit import PROMPT, described

FORMS = {
    "chat": ("/v1/chat/completions", "chat.completion", "chat.completion.chunk"),
    "text": ("/v1/completions", "text_completion", "text_completion"),
}
forms = pytest.mark.parametrize("form", FORMS)


def asked(target, form, **fields):
    said = {"messages": [{"role": "user", "content": PROMPT}]} if form == "chat" else {"prompt": PROMPT}
    model = {} if target.model is None else {"model": target.model}
    return {**said, "max_tokens": 6, "temperature": 0, **model, **fields}


async def chunks_of(target, form, **fields):
    """Read a whole stream of chunks; return them, and whether it said that it is done."""
    path, _, kind = FORMS[form]
    body = asked(target, form, stream=True, **fields)
    async with target.http() as http, http.stream("POST", path, json=body) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        data = [line[6:] async for line in answer.aiter_lines() if line.startswith("data: ")]
    chunks = [json.loads(line) for line in data if line != "[DONE]"]
    for chunk in chunks:
        described("http_error" if "error" in chunk else kind, chunk)
    return chunks, data[-1] == "[DONE]"


def said(choice):
    if "message" in choice:
        return choice["message"]["content"]
    return choice["text"] if "text" in choice else choice["delta"].get("content", "")


async def stored_text(target, completion_id):
    stored = await target.stored("resp_" + completion_id.rpartition("-")[2])
    return stored["output"][0]["content"][0]["text"], stored["usage"]


@forms
async def test_a_whole_answer_is_the_text_of_the_response_that_its_id_names(target, form):
    path, kind, _ = FORMS[form]
    async with target.http() as http:
        answer = await http.post(path, json=asked(target, form))
    assert answer.status_code == 200, answer.text
    whole = answer.json()
    described(kind, whole)
    text, usage = await stored_text(target, whole["id"])
    assert said(whole["choices"][0]) == text
    assert whole["usage"]["total_tokens"] == usage["total_tokens"]
    assert whole["choices"][0]["finish_reason"] == "length"


@forms
async def test_a_stream_is_the_same_text_a_reason_and_done(target, form):
    chunks, done = await chunks_of(target, form)
    assert done
    assert len({chunk["id"] for chunk in chunks}) == 1
    text, _ = await stored_text(target, chunks[0]["id"])
    assert "".join(said(chunk["choices"][0]) for chunk in chunks) == text
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["length"]
    if form == "chat":
        assert [chunk["choices"][0]["delta"].get("role") for chunk in chunks[:2]] == ["assistant", None]


@forms
async def test_the_usage_comes_in_a_chunk_of_its_own_if_it_is_asked_for(target, form):
    chunks, done = await chunks_of(target, form, stream_options={"include_usage": True})
    *rest, last = chunks
    assert done
    assert all(chunk["usage"] is None for chunk in rest)
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 6)


@forms
async def test_a_stop_string_ends_an_answer_before_it(target, form):
    whole, _ = await chunks_of(target, form)
    text = "".join(said(chunk["choices"][0]) for chunk in whole)
    stop = text[len(text) // 2 :]
    chunks, done = await chunks_of(target, form, stop=[stop])
    assert done
    assert "".join(said(chunk["choices"][0]) for chunk in chunks) == text[: text.index(stop)]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


async def test_both_names_of_the_limit_and_parts_of_text_are_taken(target):
    parts = [{"type": "text", "text": PROMPT}]
    messages = [{"role": "developer", "content": parts}, {"role": "user", "content": parts}]
    chunks, done = await chunks_of(
        target, "chat", messages=messages, max_tokens=9, max_completion_tokens=3, n=1, user="u", tools=[]
    )
    assert done
    _, usage = await stored_text(target, chunks[0]["id"])
    assert usage["output_tokens"] == 3


async def test_logprobs_stand_beside_their_text(target):
    chunks, _ = await chunks_of(target, "chat", logprobs=True, top_logprobs=2)
    told = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    tokens = [token for logprobs in told if logprobs for token in logprobs["content"]]
    assert "".join(token["token"] for token in tokens) == "".join(
        said(chunk["choices"][0]) for chunk in chunks
    )
    chunks, _ = await chunks_of(target, "text", logprobs=2)
    columns = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert sum(len(each["tokens"]) for each in columns if each) == 6
