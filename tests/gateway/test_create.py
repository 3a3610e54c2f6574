import json

import pytest

from gateway.create import NEUTRAL, Create, Defaults, conversation, to_request
from gateway.errors import Code
from gateway.wire import Rejected, parse
from shared.request import ANY_OBJECT, MOST_GRAMMAR, Message, decode, encode


def parsed(**fields):
    return parse(json.dumps({"type": "response.create", "input": "Hello", **fields}))


def request_of(**fields):
    command = parsed(**fields)
    assert isinstance(command, Create), command
    return to_request(
        command, response_id="resp_0", model="m", principal="alice", seed=99, defaults=Defaults()
    )


def refused(**fields):
    reply = parsed(**fields)
    assert isinstance(reply, Rejected), reply
    return reply.error


def test_instructions_and_developer_speak_as_system():
    items = [
        {"role": "developer", "content": "Be brief."},
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "Hi "}, {"type": "text", "text": "you"}],
        },
        {"role": "assistant", "content": [{"type": "output_text", "text": "Hello", "annotations": []}]},
    ]
    command = parsed(input=items, instructions="Be kind.")
    assert conversation(command) == (
        Message("system", "Be kind."),
        Message("system", "Be brief."),
        Message("user", "Hi you"),
        Message("assistant", "Hello"),
    )


@pytest.mark.parametrize(
    ("item", "code", "param"),
    [
        ({"type": "function_call_output", "output": "x"}, Code.UNSUPPORTED_PARAMETER, "input[0].type"),
        ({"role": "tool", "content": "x"}, Code.INVALID_REQUEST, "input[0].role"),
        ({"role": "user"}, Code.INVALID_REQUEST, "input[0].content"),
        (
            {"role": "user", "content": [{"type": "input_text"}]},
            Code.INVALID_REQUEST,
            "input[0].content[0].text",
        ),
        (
            {
                "role": "user",
                "content": [{"type": "text", "text": "a"}, {"type": "input_image", "image_url": "u"}],
            },
            Code.UNSUPPORTED_PARAMETER,
            "input[0].content[1].type",
        ),
        (
            {"role": "user", "content": [{"type": "input_audio"}]},
            Code.UNSUPPORTED_PARAMETER,
            "input[0].content[0].type",
        ),
    ],
)
def test_an_item_that_is_no_text_message_is_refused_where_it_stands(item, code, param):
    error = refused(input=[item])
    assert (error.code, error.param) == (code, param)


def test_an_empty_input_is_refused():
    assert refused(input=[]).param == "input"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", [{"type": "function", "name": "f"}]),
        ("tool_choice", "required"),
        ("text", {"verbosity": "low"}),
        ("reasoning", {"effort": "high"}),
        ("truncation", "auto"),
        ("conversation", "c"),
        ("n", 2),
        ("n", True),
        ("generate", False),
        ("logprobs", True),
        ("logit_bias", {"1": 2}),
        ("response_format", {"type": "json_object"}),
    ],
)
def test_a_field_that_would_change_the_answer_is_refused_by_name(field, value):
    error = refused(**{field: value})
    assert (error.code, error.param) == (Code.UNSUPPORTED_PARAMETER, field)


@pytest.mark.parametrize("field", NEUTRAL)
def test_null_is_always_neutral(field):
    assert isinstance(parsed(**{field: None}), Create)


def test_neutral_values_are_accepted():
    assert isinstance(
        parsed(
            tools=[],
            tool_choice="auto",
            text={"format": {"type": "text"}, "verbosity": "medium"},
            reasoning={"effort": None},
            truncation="disabled",
            n=1,
            include=["reasoning.encrypted_content"],
        ),
        Create,
    )


def test_defaults_fill_what_was_not_asked():
    request = request_of()
    assert request.sampling.max_tokens == 1024
    assert request.sampling.temperature == 1.0
    assert request.sampling.seed == 99
    assert request.keep == 30.0
    assert request.echo == {}


def test_what_was_asked_counts():
    request = request_of(
        max_output_tokens=10**6, temperature=0, top_p=0.5, seed=-1, stop="END", keep=5, metadata={"a": "b"}
    )
    assert request.sampling.max_tokens == 4096
    assert (request.sampling.temperature, request.sampling.top_p) == (0, 0.5)
    assert request.sampling.seed == 2**63 - 1
    assert request.sampling.stop == ("END",)
    assert request.keep == 5
    assert request.echo == {"max_output_tokens": 10**6, "metadata": {"a": "b"}}


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, None),
        ({"include": []}, None),
        ({"top_logprobs": 0}, None),
        ({"include": ["message.output_text.logprobs"]}, 0),
        ({"include": ["message.output_text.logprobs"], "top_logprobs": 5}, 5),
        ({"top_logprobs": 20}, 20),
    ],
)
def test_logprobs_are_told_to_those_who_ask(asked, told):
    assert request_of(**asked).sampling.top_logprobs == told


def test_penalties_count():
    sampling = request_of(frequency_penalty=0.5, presence_penalty=-2).sampling
    assert (sampling.frequency_penalty, sampling.presence_penalty) == (0.5, -2.0)


@pytest.mark.parametrize(
    ("field", "value"),
    [("frequency_penalty", 2.1), ("presence_penalty", -3), ("top_logprobs", 21), ("include", "all")],
)
def test_what_is_out_of_range_is_refused_by_name(field, value):
    error = refused(**{field: value})
    assert (error.code, error.param) == (Code.INVALID_REQUEST, field)


def test_a_background_response_is_never_left():
    assert request_of(background=True, keep=5).keep == -1


def test_the_idempotency_key_may_come_as_metadata():
    assert request_of(metadata={"idempotency_key": "k"}).idempotency_key == "k"
    assert request_of(metadata={"idempotency_key": "k"}, idempotency_key="own").idempotency_key == "own"


def test_a_request_survives_the_store():
    request = request_of(metadata={"a": "b"}, instructions="Be kind.")
    assert decode(encode(request)) == request


SCHEMA = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "integer"}}}


def asked_in(kind, **fields):
    return {"text": {"format": {"type": kind, **fields}}}


def test_a_schema_goes_to_the_worker_in_its_order_and_is_shown_again():
    request = request_of(**asked_in("json_schema", name="n", schema=SCHEMA, strict=True))
    assert list(json.loads(request.sampling.grammar)["properties"]) == ["b", "a"]
    assert json.loads(request.sampling.grammar) == SCHEMA
    assert request.echo["text"] == asked_in("json_schema", name="n", schema=SCHEMA, strict=True)["text"]
    assert decode(encode(request)) == request


def test_any_object_has_a_grammar_of_its_own_and_plain_text_has_none():
    assert request_of(**asked_in("json_object")).sampling.grammar == ANY_OBJECT
    assert request_of(**asked_in("json_object")).echo == asked_in("json_object")
    assert request_of(**asked_in("text")) == request_of()


@pytest.mark.parametrize(
    ("form", "code", "param"),
    [
        ({"type": "xml"}, Code.UNSUPPORTED_PARAMETER, "text.format.type"),
        ({}, Code.INVALID_REQUEST, "text.format.type"),
        ({"type": "json_schema"}, Code.INVALID_REQUEST, "text.format.schema"),
        ({"type": "json_schema", "schema": "x"}, Code.INVALID_REQUEST, "text.format.schema"),
        ({"type": "json_schema", "schema": [1]}, Code.INVALID_REQUEST, "text.format.schema"),
        ({"type": "json_schema", "schema": {}, "name": "a b"}, Code.INVALID_REQUEST, "text.format.name"),
        (
            {"type": "json_schema", "schema": {"enum": ["x" * MOST_GRAMMAR]}},
            Code.INVALID_REQUEST,
            "text.format.schema",
        ),
    ],
)
def test_a_format_that_cannot_be_is_refused_where_it_stands(form, code, param):
    error = refused(text={"format": form})
    assert (error.code, error.param) == (code, param)
