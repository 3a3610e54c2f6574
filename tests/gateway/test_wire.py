import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.create import NEUTRAL, Create
from gateway.errors import Code, RefusedError
from gateway.wire import (
    MAX_DEPTH,
    Cancel,
    Rejected,
    Replay,
    Resume,
    cursors,
    parse,
    parse_chat,
    parse_completion,
    parse_create,
    parse_query,
)

ID = "resp_000" + "a" * 32


def create(**fields):
    return json.dumps({"type": "response.create", "input": "Hello", **fields})


def rejected(raw):
    reply = parse(raw)
    assert isinstance(reply, Rejected), reply
    return reply


def test_a_create_is_read():
    assert parse(create(model="m", stream_id="a.b")) == Create(input="Hello", model="m", stream_id="a.b")


def test_unknown_fields_and_what_sdks_send_anyway_are_ignored():
    sent = create(stream=True, tools=[], include=[], store=True, service_tier="auto", never_heard_of={"a": 1})
    assert isinstance(parse(sent), Create)


def test_a_cancel_needs_no_id():
    assert parse('{"type":"response.cancel"}') == Cancel()


def test_a_resume_starts_at_the_beginning_unless_told():
    assert parse(json.dumps({"type": "response.resume", "response_id": ID})) == Resume(ID, -1)


def test_what_is_not_an_object_is_invalid_json():
    for raw in ("", "{", "[1]", '"text"', "null", '{"type":"response.create","input":"\\ud800"}'):
        assert rejected(raw).error.code is Code.INVALID_JSON


BODIES = {
    parse_create: '{"input":"x","unknown":?}',
    parse_chat: '{"messages":[{"role":"user","content":"x"}],"unknown":?}',
    parse_completion: '{"prompt":"x","unknown":?}',
}


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 5000])
def test_a_number_that_nobody_can_read_is_refused_even_where_nobody_reads_it(number):
    assert rejected(create(unknown=0).replace("0}", f"{number}}}")).error.code is Code.INVALID_REQUEST
    for parse_body, body in BODIES.items():
        with pytest.raises(RefusedError) as refused:
            parse_body(body.replace("?", number).encode())
        assert (refused.value.error.code, refused.value.error.param) == (Code.INVALID_REQUEST, None)


def test_a_body_is_no_json_where_a_field_that_nobody_reads_is_not_utf_8():
    for parse_body, body in BODIES.items():
        with pytest.raises(RefusedError) as refused:
            parse_body(body.encode().replace(b"?", b'"\xff"'))
        assert refused.value.error.code is Code.INVALID_JSON


def test_an_unknown_type_is_named():
    assert rejected('{"type":"response.steer","event_id":"e1"}').error.event_id == "e1"
    assert rejected('{"type":"response.steer"}').error.code is Code.UNSUPPORTED_EVENT


def test_a_missing_type_is_named():
    error = rejected('{"input":"Hello"}').error
    assert (error.code, error.param) == (Code.INVALID_REQUEST, "type")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 2.1),
        ("temperature", "warm"),
        ("top_p", 0),
        ("max_output_tokens", 0),
        ("seed", 2**63),
        ("stop", ["a"] * 5),
        ("stop", ""),
        ("metadata", {"k": 1}),
        ("keep", -2),
        ("keep", -0.5),
        ("keep", 3601),
        ("keep", "long"),
        ("model", ""),
        ("input", None),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field, value):
    error = rejected(create(**{field: value})).error
    assert error.code is Code.INVALID_REQUEST
    assert error.param is not None
    assert error.param.startswith(field)


@pytest.mark.parametrize("stream_id", ["", "a b", "é", "x" * 257, 7])
def test_a_bad_stream_id_is_refused(stream_id):
    reply = rejected(create(stream_id=stream_id))
    assert reply.error.code is Code.INVALID_STREAM_ID
    assert reply.stream_id is None


def test_the_lane_of_a_bad_message_is_known():
    assert rejected(create(stream_id="a", temperature=9)).stream_id == "a"


@pytest.mark.parametrize("kind", ["response.cancel", "response.resume"])
def test_what_cannot_be_a_response_id_is_not_found(kind):
    error = rejected(json.dumps({"type": kind, "response_id": "resp_{p1}*"})).error
    assert error.code is Code.RESPONSE_NOT_FOUND


def test_deep_nesting_is_refused_and_shallow_breadth_is_not():
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert rejected(f'{{"type":"response.create","input":"x","a":{deep}}}').error.code is Code.INVALID_JSON
    broad = json.dumps([[]] * 100 + ["[" * 100 + '\\"{'])
    assert isinstance(parse(f'{{"type":"response.create","input":"x","a":{broad}}}'), Create)


@given(
    st.one_of(
        st.text(max_size=200), st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps)
    )
)
def test_no_input_raises(raw):
    assert isinstance(parse(raw), Rejected)


@given(
    st.dictionaries(
        st.sampled_from(["input", "model", "stream_id", "tools", "temperature", "stop", "metadata", "text"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=6,
        ),
    )
)
def test_a_create_is_read_or_rejected_whatever_its_fields_are(fields):
    assert isinstance(parse(json.dumps({"type": "response.create", **fields})), Create | Rejected)


def test_a_body_needs_no_type():
    assert parse_create(b'{"input":"Hello"}').create == Create(input="Hello")
    with pytest.raises(RefusedError) as refused:
        parse_create(b"\xff")
    assert refused.value.error.code is Code.INVALID_JSON


def test_cursors_are_aligned_lists():
    query = {
        "response_id": [ID, ID],
        "starting_after": ["3", "-1"],
        "stream_id": ["a", "b"],
        "epoch": ["", "7"],
    }
    assert cursors(query) == [Resume(ID, 3, stream_id="a"), Resume(ID, -1, epoch=7, stream_id="b")]
    assert cursors({"unknown": ["x"]}) == []


@pytest.mark.parametrize(
    "query",
    [
        {"response_id": [ID], "starting_after": ["x"]},
        {"response_id": [ID], "starting_after": ["1", "2"]},
        {"starting_after": ["1"]},
        {"response_id": ["nobody"]},
        {"response_id": [ID], "stream_id": ["a b"]},
    ],
)
def test_a_bad_cursor_is_refused(query):
    assert cursors(query).status in (400, 404)


VECTORS = json.loads((Path(__file__).parents[2] / "docs/vectors/refusals.json").read_text())["messages"]
NEEDS_A_STORE = {
    "previous_response_not_found",
    "response_not_active",
    "response_not_found",
    "model_not_found",
}


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: case["name"])
def test_each_vector_is_refused_as_it_says(case):
    read = parse(case["frame"])
    if not isinstance(read, Rejected):
        assert case["error"]["code"] in NEEDS_A_STORE
        return
    told = {"code": read.error.code.value, "param": read.error.param}
    assert told == case["error"]
    assert (read.stream_id, read.error.event_id) == (case.get("stream_id"), case.get("event_id"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
FIELDS = sorted(
    {
        *Create.__struct_fields__,
        *NEUTRAL,
        "response_id",
        "starting_after",
        "epoch",
    }
)


@given(st.text() | st.binary())
def test_any_text_is_a_command_or_a_refusal(frame):
    assert isinstance(parse(frame), Rejected)


@given(
    st.sampled_from(["response.create", "response.cancel", "response.resume", "response.dance"]),
    st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6),
)
def test_any_fields_are_a_command_or_a_refusal_that_renders(kind, fields):
    read = parse(json.dumps({"input": "x", **fields, "type": kind}))
    if isinstance(read, Rejected):
        assert json.loads(read.error.event(read.stream_id))["status"] < 500
    else:
        assert msgspec.to_builtins(read)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ([("starting_after", "null")], "starting_after"),
        ([("starting_after", "x")], "starting_after"),
        ([("starting_after", "-2")], "starting_after"),
        ([("starting_after", "1"), ("starting_after", "1")], "starting_after"),
        ([("stream", "maybe")], "stream"),
        ([("stream", "")], "stream"),
    ],
)
def test_a_query_that_is_none_is_refused(query, param):
    with pytest.raises(RefusedError) as refused:
        parse_query(query, Replay)
    assert (refused.value.error.code, refused.value.error.param) == (Code.INVALID_REQUEST, param)


def test_a_query_is_read_and_what_is_unknown_in_it_passed_over():
    asked = parse_query(
        [("stream", "true"), ("starting_after", "7"), ("include[]", "a"), ("include[]", "b")], Replay
    )
    assert asked == Replay(stream=True, starting_after=7)
    assert parse_query([("stream", "0")], Replay) == Replay()
