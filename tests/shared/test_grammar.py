import json

import pytest

from shared.grammar import LONGEST, GrammarError, compiled
from shared.request import ANY_OBJECT, MOST_GRAMMAR


@pytest.mark.parametrize(
    "schema",
    [
        ANY_OBJECT,
        "{}",
        '{"type":"array","items":{"$ref":"#"}}',
        '{"type":"object","unknown_keyword":1}',
        '{"oneOf":[{"type":"string"},{"type":"number"}]}',
    ],
)
def test_a_schema_becomes_a_grammar(schema):
    assert compiled(schema)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ("no JSON", "expected ident"),
        ("[]", "Expecting object"),
        ('{"type": "strin"}', "Invalid type: strin"),
        ('{"type": 7}', "type must be a string"),
        ('{"properties": []}', "properties must be an object"),
        ('{"required": "a"}', "Expected array for 'required'"),
        ('{"type": "string", "minLength": -1}', "minLength"),
        ('{"type": "string", "format": "zzz"}', "Unknown format"),
        ('{"not": {"type": "string"}}', "Unimplemented keys"),
        ('{"oneOf": [{"type": "string"}, {"type": "string", "maxLength": 3}]}', "oneOf"),
        ('{"type": "string", "pattern": "("}', "regex parse error"),
        ('{"$ref": "http://127.0.0.1/x"}', "http://127.0.0.1/x"),
        ('{"enum": []}', "Unsatisfiable"),
    ],
)
def test_one_that_cannot_be_used_is_refused_with_a_sentence(schema, why):
    with pytest.raises(GrammarError, match=r"^The schema cannot be used: ") as caught:
        compiled(schema)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_sentence_has_a_bound_whatever_was_asked():
    depth = MOST_GRAMMAR // 2 - 100
    with pytest.raises(GrammarError) as caught:
        compiled(json.dumps({"type": "string", "pattern": "(" * depth + ")" * depth}))
    assert len(str(caught.value)) <= LONGEST
