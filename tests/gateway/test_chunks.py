"""The chunks of both older APIs, out of rendered logs."""

import json
from itertools import zip_longest
from pathlib import Path

import pytest
from conformance_kit import described
from hypothesis import given
from hypothesis import strategies as st

from gateway.chunks import CHAT, DONE, TEXT, Chunks, whole
from gateway.errors import Code, WireError
from gateway.render import render
from gateway.response import snapshot
from shared.log import Entry, Kind, Reason, escape
from shared.logprobs import Scored, encode
from shared.request import Message, Request, Sampling

REQUEST = Request(
    response_id="resp_" + "0" * 35,
    model='a "model"',
    principal="dev",
    messages=(Message("user", "Hello"),),
    sampling=Sampling(max_tokens=16, seed=7),
)
FORMS = {"chat": CHAT, "text": TEXT}


def log_of(reason, *texts, message="", logprobs=()):
    deltas = [
        Entry(5, 5 + n, Kind.DELTA, 1, text=text, ids=(n,), logprobs=scores, prompt_tokens=0 if n else 3)
        for n, (text, scores) in enumerate(zip_longest(texts, logprobs, fillvalue=""))
    ]
    upto = 4 + len(texts)
    return [
        Entry(0, 1, Kind.QUEUED, 1, at=1),
        Entry(5, 4, Kind.STARTED, 3, owner="w"),
        *deltas,
        Entry(5, upto + 4, Kind.ENDED, 4, reason=reason, message=message),
    ]


def events_of(entries):
    """Render a log; a delta stays an entry."""
    told = snapshot(entries)
    for entry in entries:
        yield entry if entry.kind is Kind.DELTA else render(REQUEST, 1_700_000_000_000, entry, told)


def stream_of(form, entries, *, usage=False, scored=False):
    chunks = Chunks(form, "fp_1", usage=usage)
    out = b""
    for item in events_of(entries):
        if isinstance(item, Entry):
            out += chunks.frame(item.epoch, scored=scored).one(item.first, item.piece)
        else:
            out += b"".join(chunks.events(item))
    return out


VECTORS = Path(__file__).parents[2] / "docs/vectors"
CHUNKS = json.loads((VECTORS / "chunks.json").read_text())
LOGS = {case["name"]: case for case in json.loads((VECTORS / "events.json").read_text())["cases"]}


def entry_of(fields):
    reason = Reason(fields["reason"]) if "reason" in fields else None
    return Entry(
        **fields | {"kind": Kind(fields["kind"]), "reason": reason, "ids": tuple(fields.get("ids", ()))}
    )


def data(stream):
    assert stream.endswith(b"\n\n")
    lines = [part.removeprefix("data: ") for part in stream.decode().split("\n\n")[:-1]]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def final_of(entries):
    *_, last = events_of(entries)
    return json.dumps(json.loads(last[-1].payload)["response"], ensure_ascii=False).encode()


def test_a_chat_stream_is_a_role_the_texts_a_reason_and_done():
    role, one, two, last, done = data(stream_of(CHAT, log_of(Reason.STOP, 'a\\"', "\\né")))
    assert role["choices"][0]["delta"]["role"] == "assistant"
    assert [chunk["choices"][0]["delta"]["content"] for chunk in (role, one, two)] == ["", 'a"', "\né"]
    assert last["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert done == "[DONE]"
    for chunk in (role, one, two, last):
        assert chunk["id"] == "chatcmpl-" + "0" * 35
        assert (chunk["object"], chunk["model"]) == ("chat.completion.chunk", 'a "model"')
        assert (chunk["created"], chunk["system_fingerprint"]) == (1_700_000_000, "fp_1")
        assert "usage" not in chunk


def test_a_text_stream_is_the_texts_a_reason_and_done():
    one, two, last, done = data(stream_of(TEXT, log_of(Reason.LENGTH, "a", "b")))
    assert [chunk["choices"][0]["text"] for chunk in (one, two, last)] == ["a", "b", ""]
    assert [chunk["choices"][0]["finish_reason"] for chunk in (one, two, last)] == [None, None, "length"]
    assert (one["id"], one["object"], done) == ("cmpl-" + "0" * 35, "text_completion", "[DONE]")


@pytest.mark.parametrize("form", FORMS)
def test_usage_comes_last_in_a_chunk_without_choice(form):
    *chunks, usage, done = data(stream_of(FORMS[form], log_of(Reason.STOP, "a", "b"), usage=True))
    assert all(chunk["usage"] is None for chunk in chunks)
    assert usage["choices"] == []
    assert usage["usage"]["prompt_tokens"] == 3
    assert (usage["usage"]["completion_tokens"], usage["usage"]["total_tokens"]) == (2, 5)
    assert done == "[DONE]"


@pytest.mark.parametrize("form", FORMS)
def test_a_merged_delta_is_one_chunk(form):
    chunks = Chunks(FORMS[form], "fp", usage=False)
    (_, *_), *_ = [list(chunks.events(item)) or [b""] for item in events_of(log_of(Reason.STOP))]
    (chunk,) = data(chunks.frame(5, scored=False).merged(4, 6, b"abc"))
    choice = chunk["choices"][0]
    assert choice.get("text", choice.get("delta", {}).get("content")) == "abc"


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (Reason.STOP, "stop"),
        (Reason.LENGTH, "length"),
        (Reason.TIME, "length"),
        (Reason.LOG, "length"),
        (Reason.CANCELLED, "length"),
        (Reason.LEFT, "length"),
    ],
)
def test_every_reason_is_said_in_their_words(reason, said):
    entries = log_of(reason, "a")
    last = data(stream_of(CHAT, entries))[-2]
    assert last["choices"][0]["finish_reason"] == said
    body = json.loads(whole(CHAT, final_of(entries), fingerprint="fp_1", scored=False))
    assert body["choices"][0]["finish_reason"] == said


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.QUEUE_TIMEOUT, Code.OVERLOADED),
        (Reason.CONTEXT, Code.CONTEXT_LENGTH_EXCEEDED),
        (Reason.WORKER_LOST, Code.SERVER_ERROR),
        (Reason.LOG_LOST, Code.SERVER_ERROR),
        (Reason.ERROR, Code.SERVER_ERROR),
    ],
)
def test_a_failure_is_an_error_and_never_done(reason, code):
    entries = log_of(reason, "a", message="It broke.")
    stream = stream_of(CHAT, entries, usage=True)
    assert DONE not in stream
    error = data(stream)[-1]["error"]
    assert (error["code"], error["message"]) == (code, "It broke.")
    refusal = whole(TEXT, final_of(entries), fingerprint="fp", scored=False)
    assert isinstance(refusal, WireError)
    assert (refusal.code, refusal.message) == (code, "It broke.")


def test_the_whole_chat_holds_the_logs_text():
    body = json.loads(
        whole(CHAT, final_of(log_of(Reason.STOP, 'a\\"', "\\né")), fingerprint="fp_1", scored=False)
    )
    assert (body["object"], body["id"]) == ("chat.completion", "chatcmpl-" + "0" * 35)
    assert body["choices"][0]["message"]["content"] == 'a"\né'
    assert body["choices"][0]["message"]["role"] == "assistant"
    assert body["usage"]["total_tokens"] == 5


def test_a_whole_text_that_never_began_is_empty():
    entries = [
        Entry(0, 1, Kind.QUEUED, 1, at=1),
        Entry(0, 2, Kind.ENDED, 1, reason=Reason.CANCELLED),
    ]
    body = json.loads(whole(TEXT, final_of(entries), fingerprint="fp_1", scored=False))
    assert body["choices"] == [{"index": 0, "text": "", "logprobs": None, "finish_reason": "length"}]
    assert body["usage"]["total_tokens"] == 0


SCORED = log_of(
    Reason.STOP,
    "a\\n",
    "é",
    "b",
    logprobs=[
        '["a",-0.5,[["a",-0.5],["x",-1.5]]],["\\n",0.0,[]]',
        "[[195],-1.0,[]],[[169],-2.0,[]]",
        '["b",-0.25,[]]',
    ],
)


def scores(stream):
    return [chunk["choices"][0]["logprobs"] for chunk in data(stream)[:-1]]


def test_a_chat_tells_the_logprobs_of_every_chunks_tokens():
    role, first, second, third, last = scores(stream_of(CHAT, SCORED, scored=True))
    assert role is last is None
    assert [token["token"] for token in first["content"]] == ["a", "\n"]
    assert first["content"][0]["top_logprobs"][1] == {"token": "x", "logprob": -1.5, "bytes": [120]}
    assert [token["bytes"] for token in second["content"]] == [[195], [169]]
    body = json.loads(whole(CHAT, final_of(SCORED), fingerprint="fp", scored=True))
    told = body["choices"][0]["logprobs"]["content"]
    assert told == first["content"] + second["content"] + third["content"]
    assert body["choices"][0]["message"]["content"] == "a\néb"


def test_a_text_tells_them_in_columns_with_where_each_token_begins():
    first, second, third, last = scores(stream_of(TEXT, SCORED, scored=True))
    assert last is None
    assert first == {
        "tokens": ["a", "\n"],
        "token_logprobs": [-0.5, 0.0],
        "top_logprobs": [{"a": -0.5, "x": -1.5}, {}],
        "text_offset": [0, 1],
    }
    assert third["text_offset"] == [3]
    body = json.loads(whole(TEXT, final_of(SCORED), fingerprint="fp", scored=True))
    told = body["choices"][0]["logprobs"]
    assert told["tokens"] == first["tokens"] + second["tokens"] + third["tokens"]
    assert body["choices"][0]["text"] == "a\néb"


def test_merged_deltas_tell_all_their_logprobs():
    chunks = Chunks(CHAT, "fp", usage=False)
    begun, *_ = events_of(SCORED)
    assert list(chunks.events(begun))
    pieces = b"".join(entry.piece for entry in SCORED if entry.kind is Kind.DELTA)
    (chunk,) = data(chunks.frame(5, scored=True).merged(4, 6, pieces))
    assert chunk["choices"][0]["delta"]["content"] == "a\néb"
    assert len(chunk["choices"][0]["logprobs"]["content"]) == 5


def test_logprobs_that_were_not_asked_for_are_null():
    assert scores(stream_of(CHAT, log_of(Reason.STOP, "a"))) == [None, None, None]
    body = json.loads(whole(TEXT, final_of(log_of(Reason.STOP, "a")), fingerprint="fp", scored=False))
    assert body["choices"][0]["logprobs"] is None


@pytest.mark.parametrize(("name", "form"), [("chat.completion", CHAT), ("text_completion", TEXT)])
def test_whatever_is_said_is_described(name, form):
    chunk = "chat.completion.chunk" if form is CHAT else name
    for entries, scored in ((SCORED, True), (log_of(Reason.LENGTH, "a"), False)):
        for datum in data(stream_of(form, entries, usage=True, scored=scored))[:-1]:
            described(chunk, datum)
        described(name, json.loads(whole(form, final_of(entries), fingerprint="fp", scored=scored)))


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8), max_size=12),
    st.lists(st.integers(1, 4), min_size=12, max_size=12),
    st.booleans(),
    st.sampled_from([CHAT, TEXT]),
)
def test_however_deltas_are_merged_the_chunks_say_the_logs_text(texts, sizes, scored, form):
    """Logprobs stay with the text that they belong to, and each token begins where it is said to."""
    logprobs = [encode([Scored(text, -0.5)]) if scored else "" for text in texts]
    entries = log_of(Reason.STOP, *map(escape, texts), logprobs=logprobs)
    chunks, stream = Chunks(form, "fp", usage=False), b""
    deltas = [entry for entry in entries if entry.kind is Kind.DELTA]
    begun, *_, ended = events_of(entries)
    stream += b"".join(chunks.events(begun))
    for size in sizes:
        merged, deltas = deltas[:size], deltas[size:]
        if merged:
            pieces = b"".join(entry.piece for entry in merged)
            stream += chunks.frame(5, scored=scored).merged(merged[0].first, merged[-1].first, pieces)
    stream += b"".join(chunks.events(ended))
    *told, done = data(stream)
    choices = [chunk["choices"][0] for chunk in told]
    whole_text = "".join(texts)
    assert done == "[DONE]"
    assert (
        "".join(choice.get("text", choice.get("delta", {}).get("content", "")) for choice in choices)
        == whole_text
    )
    columns = [choice["logprobs"] for choice in choices if choice["logprobs"]]
    if scored and form is CHAT:
        assert [token["token"] for each in columns for token in each["content"]] == texts
    elif scored:
        for each in columns:
            for token, at in zip(each["tokens"], each["text_offset"], strict=True):
                assert token.startswith("bytes:") or whole_text[at:].startswith(token)
    else:
        assert not columns


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CHUNKS["cases"])
def test_each_vector_is_said_as_it_says(name, form):
    entries = [entry_of(fields) for fields in LOGS[name]["entries"]]
    expected = CHUNKS["cases"][name][form]
    assert data(stream_of(FORMS[form], entries, usage=expected["usage_asked"])) == expected["stream"]
    body = whole(FORMS[form], final_of(entries), fingerprint="fp_1", scored=False)
    said = json.loads(body.http() if isinstance(body, WireError) else body)
    assert said == expected["whole"]


def test_the_vectors_have_every_log_that_is_read_from_its_beginning():
    assert set(CHUNKS["cases"]) == {name for name, case in LOGS.items() if case["after"] == -1}
