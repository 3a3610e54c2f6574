import json

import pytest

from gateway.errors import Code, RefusedError
from gateway.formats import (
    Format,
    NamedSchema,
    ResponseFormat,
    Text,
    check_format,
    grammar_of,
    of_chat,
    shown,
)
from shared.request import ANY_OBJECT, MOST_GRAMMAR

SCHEMA = {"type": "object", "properties": {"b": {}, "a": {}}}


def test_the_grammar_is_the_schema_in_its_order():
    assert grammar_of(Format("json_schema", schema=SCHEMA)) == json.dumps(SCHEMA, separators=(",", ":"))
    assert grammar_of(Format("json_object", schema={"type": "string"})) == ANY_OBJECT


@pytest.mark.parametrize("form", [None, Format("text"), Format("text", schema=SCHEMA)])
def test_plain_text_has_no_grammar_and_is_not_shown(form):
    assert (grammar_of(form), shown(Text(form))) == ("", None)


def test_what_was_asked_is_shown_without_what_was_not():
    assert shown(Text(Format("json_object"))) == {"format": {"type": "json_object"}}
    assert shown(Text(Format("json_schema", "n", schema=SCHEMA, strict=False))) == {
        "format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": False}
    }


def test_a_chat_says_the_same_in_its_own_words():
    asked = ResponseFormat("json_schema", NamedSchema("n", "what", SCHEMA, True))
    assert of_chat(asked) == Text(Format("json_schema", "n", "what", SCHEMA, True))
    assert of_chat(ResponseFormat("json_object", NamedSchema("n"))) == Text(Format("json_object"))
    assert of_chat(None) is None


def test_a_schema_has_a_bound_in_bytes():
    bare = len(grammar_of(Format("json_schema", schema={"enum": [""]})))
    room = MOST_GRAMMAR - bare
    check_format(
        Format("json_schema", schema={"enum": ["é" * (room // 2) + "x" * (room % 2)]}), "text.format"
    )
    with pytest.raises(RefusedError) as caught:
        check_format(Format("json_schema", schema={"enum": ["x" * (room + 1)]}), "text.format")
    error = caught.value.error
    assert (error.code, error.param) == (Code.INVALID_REQUEST, "text.format.schema")
