import json

import pytest

from gateway.completions import CHAT_NEUTRAL, COMPLETION_NEUTRAL, COMPLETION_TOKENS
from gateway.create import LOGPROBS, conversation
from gateway.errors import Code, RefusedError
from gateway.formats import Format
from gateway.wire import parse_chat, parse_completion
from shared.request import Message

HELLO = [{"role": "user", "content": "Hello"}]


def chat(**fields):
    return parse_chat(json.dumps({"messages": HELLO} | fields).encode())


def completion(**fields):
    return parse_completion(json.dumps({"prompt": "Once"} | fields).encode())


def refused(ask, **fields):
    with pytest.raises(RefusedError) as caught:
        ask(**fields)
    return caught.value.error.code, caught.value.error.param


def test_a_chat_is_the_create_with_the_same_words():
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi "}, {"type": "text", "text": "you"}]},
        {"role": "assistant", "content": "Hello", "tool_calls": None},
    ]
    asked = chat(messages=messages, max_tokens=9, temperature=0, seed=3, stop="END", stream=True, user="u")
    assert conversation(asked.create) == (
        Message("system", "Be brief."),
        Message("user", "Hi you"),
        Message("assistant", "Hello"),
    )
    create = asked.create
    assert (create.max_output_tokens, create.temperature, create.seed, create.stop) == (9, 0, 3, "END")
    assert (create.stream, create.user, create.store, create.raw) == (True, "u", False, None)


def test_the_newer_name_of_the_limit_counts():
    assert chat(max_tokens=9, max_completion_tokens=5).create.max_output_tokens == 5


def test_usage_comes_in_a_stream_if_it_is_asked_for():
    assert not chat(stream=True).usage
    assert chat(stream=True, stream_options={"include_usage": True}).usage
    assert completion(stream=True, stream_options={"include_usage": True, "of_tomorrow": 1}).usage


def test_a_chat_names_the_form_of_its_answer_in_its_own_words():
    schema = {"type": "object", "properties": {"b": {}, "a": {}}}
    named = {"name": "n", "schema": schema, "strict": True}
    asked = chat(response_format={"type": "json_schema", "json_schema": named})
    assert asked.create.text.format == Format("json_schema", "n", None, schema, True)
    assert chat(response_format={"type": "json_object"}).create.text.format == Format("json_object")
    assert chat(response_format={"type": "text"}).create.text.format == Format("text")


@pytest.mark.parametrize(
    ("form", "refusal"),
    [
        ({"type": "xml"}, (Code.UNSUPPORTED_PARAMETER, "response_format.type")),
        ({"type": "json_schema"}, (Code.INVALID_REQUEST, "response_format.json_schema.schema")),
        ({}, (Code.INVALID_REQUEST, "response_format.type")),
        ({"type": "json_schema", "json_schema": 7}, (Code.INVALID_REQUEST, "response_format.json_schema")),
    ],
)
def test_a_form_that_cannot_be_is_refused_where_it_stands(form, refusal):
    assert refused(chat, response_format=form) == refusal


def test_a_completion_is_a_raw_create():
    create = completion(prompt=["Once upon"], max_tokens=3, stop=["a", "b"]).create
    assert (create.input, create.raw, create.store) == ("Once upon", True, False)
    assert (create.max_output_tokens, create.stop) == (3, ["a", "b"])
    assert completion().create.max_output_tokens == COMPLETION_TOKENS


@pytest.mark.parametrize(
    ("messages", "code", "param"),
    [
        ([], Code.INVALID_REQUEST, "messages"),
        ([1], Code.INVALID_REQUEST, "messages[0]"),
        ([{"content": "x"}], Code.INVALID_REQUEST, "messages[0].role"),
        ([*HELLO, {"role": "robot", "content": "x"}], Code.INVALID_REQUEST, "messages[1].role"),
        ([{"role": "user"}], Code.INVALID_REQUEST, "messages[0].content"),
        ([{"role": "tool", "content": "x"}], Code.UNSUPPORTED_PARAMETER, "messages[0].role"),
        (
            [{"role": "assistant", "content": "x", "tool_calls": [{}]}],
            Code.UNSUPPORTED_PARAMETER,
            "messages[0].tool_calls",
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
            Code.UNSUPPORTED_PARAMETER,
            "messages[0].content[0].type",
        ),
        (
            [{"role": "user", "content": [{"type": "text"}]}],
            Code.INVALID_REQUEST,
            "messages[0].content[0].text",
        ),
    ],
)
def test_a_message_that_is_no_text_is_refused_where_it_stands(messages, code, param):
    assert refused(chat, messages=messages) == (code, param)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", [{"type": "function"}]),
        ("functions", [{"name": "f"}]),
        ("tool_choice", "required"),
        ("function_call", {"name": "f"}),
        ("reasoning_effort", "high"),
        ("verbosity", "low"),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "x"}),
        ("prediction", {"type": "content"}),
        ("web_search_options", {}),
        ("n", 2),
        ("logit_bias", {"1": 5}),
    ],
)
def test_a_field_of_a_chat_that_would_change_the_answer_is_refused_by_name(field, value):
    assert refused(chat, **{field: value}) == (Code.UNSUPPORTED_PARAMETER, field)


@pytest.mark.parametrize(
    ("field", "value"),
    [("n", 2), ("best_of", 3), ("echo", True), ("suffix", "x"), ("logit_bias", {"1": 5})],
)
def test_a_field_of_a_completion_that_would_change_the_answer_is_refused_by_name(field, value):
    assert refused(completion, **{field: value}) == (Code.UNSUPPORTED_PARAMETER, field)


@pytest.mark.parametrize("prompt", ["", [], ["a", "b"], [1, 2], [[1]], None, 7])
def test_a_prompt_that_is_not_one_text_is_refused(prompt):
    code, param = refused(completion, prompt=prompt)
    assert code is Code.INVALID_REQUEST
    assert param.startswith("prompt")


@pytest.mark.parametrize("field", [*CHAT_NEUTRAL])
def test_null_is_neutral_in_a_chat(field):
    assert chat(**{field: None}).create.input


@pytest.mark.parametrize("field", [*COMPLETION_NEUTRAL])
def test_null_is_neutral_in_a_completion(field):
    assert completion(**{field: None}).create.input == "Once"


def test_what_is_not_known_is_passed_over():
    assert chat(of_tomorrow={"x": 1}, service_tier="auto", parallel_tool_calls=True).create.input
    assert completion(of_tomorrow=[1]).create.input


def test_logprobs_are_asked_for_in_each_apis_own_way():
    assert (
        chat(logprobs=True).create.include == chat(logprobs=True, top_logprobs=3).create.include == [LOGPROBS]
    )
    assert chat(logprobs=True, top_logprobs=3).create.top_logprobs == 3
    assert chat(logprobs=False).create.include is None
    assert completion(logprobs=0).create.include == [LOGPROBS]
    assert completion(logprobs=5).create.top_logprobs == 5
    assert refused(chat, top_logprobs=3) == (Code.INVALID_REQUEST, "top_logprobs")
    assert refused(chat, logprobs=True, top_logprobs=21) == (Code.INVALID_REQUEST, "top_logprobs")
    assert refused(completion, logprobs=21) == (Code.INVALID_REQUEST, "logprobs")


@pytest.mark.parametrize("ask", [chat, completion])
def test_penalties_are_handed_on(ask):
    create = ask(frequency_penalty=0.5, presence_penalty=-2).create
    assert (create.frequency_penalty, create.presence_penalty) == (0.5, -2)
    assert refused(ask, frequency_penalty=2.1) == (Code.INVALID_REQUEST, "frequency_penalty")
