"""Answers that are kept to a schema: their form, their hand-over, and their neighbours."""

from __future__ import annotations

import json

import pytest
from engines import order, run, tiny_options
from jsonschema import validate
from tokenizers import Tokenizer, models

from shared.grammar import GrammarError
from shared.log import Reason
from shared.logprobs import decode, join
from shared.request import ANY_OBJECT, Keeps
from worker.engines.transformers.engine import TransformersEngine
from worker.engines.transformers.grammar import Grammars
from worker.engines.transformers.load import load

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "colour": {"enum": ["red", "grün", "蓝"]},
        "sizes": {"type": "array", "items": {"enum": [1, 20, 300]}, "minItems": 2, "maxItems": 3},
        "old": {"type": "boolean"},
    },
    "required": ["name", "colour", "sizes", "old"],
    "additionalProperties": False,
}
GRAMMAR = json.dumps(SCHEMA)
END = 1
"""The tiny model's end token."""
SAMPLINGS = [
    {},
    {"temperature": 0.9, "top_p": 0.95, "seed": 5},
    {"frequency_penalty": 1.2, "presence_penalty": 0.7},
]
TOO_MUCH = json.dumps(
    {"anyOf": [{"properties": {f"a{n}": {"$ref": "#"}}, "type": "object"} for n in range(300)]}
)
"""Its parser gives up behind the first token."""


@pytest.fixture(scope="module")
def loaded(tiny_model_dir):
    return load(tiny_options(tiny_model_dir))


def asked(name, **fields):
    return order(name, "the fox", **{"max_tokens": 150, "grammar": GRAMMAR, **fields})


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_model_of_random_weights_answers_in_json_of_the_schema_and_ends(engine, sampling):
    heard = run(engine, *(asked(f"r{seed}", **{**sampling, "seed": seed}) for seed in range(5)))
    for seed in range(5):
        text, ids, reason = heard.answer(f"r{seed}")
        validate(json.loads(text), SCHEMA)
        assert text == json.dumps(json.loads(text), ensure_ascii=False)
        assert (ids[-1], reason) == (END, "stop")


def test_the_end_token_is_chosen_nowhere_but_where_the_json_is_complete(engine):
    text, ids, _ = run(engine, asked("a")).answer("a")
    assert END not in ids[:-1]
    cut, fewer, reason = run(engine, asked("a", max_tokens=len(ids) - 2)).answer("a")
    assert (reason, fewer) == ("max_output_tokens", ids[:-2])
    assert text.startswith(cut)
    with pytest.raises(json.JSONDecodeError):
        json.loads(cut)


def test_any_object_begins_as_one(engine):
    text, _, _ = run(engine, asked("a", grammar=ANY_OBJECT)).answer("a")
    assert text.startswith("{")


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_resumed_anywhere_it_goes_on_as_undisturbed(engine, loaded, tiny_model_dir, sampling):
    whole = run(engine, asked("a", **sampling))
    text, ids, reason = whole.answer("a")
    pieces = whole.pieces("a")
    points = sorted({*range(0, len(ids), 5), 1, len(ids) - 1, len(ids)})
    resumed = [
        asked(f"r{k}", ids=ids[:k], logged="".join(piece.text for piece in pieces[:k]), **sampling)
        for k in points
    ]
    heard = run(TransformersEngine(loaded, tiny_options(tiny_model_dir)), *resumed)
    for k, one in zip(points, resumed, strict=True):
        more, later, ending = heard.answer(f"r{k}")
        assert (one.resume_text + more, ids[:k] + later, ending) == (text, ids, reason)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_neighbour_says_what_it_says_alone(engine, sampling):
    plain = order("plain", "Once upon", max_tokens=30, **sampling)
    alone = run(engine, plain).answer("plain")
    heard = run(engine, asked("a", **sampling), plain, asked("b", **{**sampling, "seed": 9}))
    assert heard.answer("plain") == alone


def test_logprobs_are_the_models_own_and_not_those_of_what_is_left_to_choose(engine):
    heard = run(engine, asked("a", top_logprobs=1))
    first = decode(join(piece.logprobs for piece in heard.pieces("a")))[0]
    ((likeliest, logprob),) = first.top
    assert (first.token, likeliest) != ("{", "{")
    assert first.logprob < logprob < 0


@pytest.mark.parametrize(
    "schema",
    [
        '{"type": "strin"}',
        '{"type": 7}',
        "no JSON",
        "[]",
        '{"not": {"type": "string"}}',
        '{"type": "string", "pattern": "("}',
        '{"$ref": "http://127.0.0.1/x"}',
        '{"$ref": "#"}',
        json.dumps({"type": "string", "pattern": "(" * 7000 + ")" * 7000}),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_before_the_batch_and_harms_no_neighbour(engine, schema):
    alone = run(engine, asked("good")).answer("good")
    computed = engine.stats().prompt_tokens
    heard = run(engine, asked("bad", grammar=schema))
    assert engine.stats().prompt_tokens == computed
    (ending,) = heard.of("bad")
    assert ending.reason is Reason.ERROR
    assert ending.message.startswith("The schema cannot be used: ")
    assert len(ending.message) <= 300
    heard = run(engine, asked("bad", grammar=schema), asked("good"))
    assert heard.answer("good") == alone


def test_a_schema_that_becomes_too_much_ends_its_own_answer_alone(engine):
    alone = run(engine, asked("good")).answer("good")
    heard = run(engine, asked("bad", grammar=TOO_MUCH), asked("good"))
    (ending,) = heard.endings("bad")
    assert ending.reason is Reason.ERROR
    assert "The answer cannot be kept to its schema: Parser Error" in ending.message
    assert heard.answer("good") == alone
    assert run(engine, asked("good")).answer("good") == alone


def test_a_log_that_the_schema_does_not_allow_ends_in_an_error(engine):
    other = run(engine, order("plain", "the fox", max_tokens=5))
    heard = run(engine, asked("a", ids=other.ids("plain"), logged=other.text("plain")))
    (ending,) = heard.endings("a")
    assert ending.reason is Reason.ERROR
    assert "The answer cannot be kept to its schema" in ending.message


def test_the_same_state_may_be_asked_for_again(loaded):
    guide = Grammars(loaded.backend, loaded.vocabulary, loaded.end_ids).guide(GRAMMAR)
    (brace,) = loaded.backend.encode("{").ids
    begun = guide.mask([])
    assert guide.mask([]) == begun
    behind = guide.mask([brace])
    assert guide.mask([brace]) == behind != begun


@pytest.mark.parametrize(
    ("tokenizer", "end_ids", "why"),
    [(None, (), "no end token"), (Tokenizer(models.WordLevel({"a": 0}, "a")), (0,), "")],
)
def test_a_model_that_cannot_be_kept_to_a_schema_says_so(loaded, tokenizer, end_ids, why):
    grammars = Grammars(tokenizer or loaded.backend, loaded.vocabulary, end_ids)
    assert grammars.keeps is Keeps.NONE
    with pytest.raises(GrammarError, match=f"This model cannot be kept to a JSON format: .*{why}"):
        grammars.guide(GRAMMAR)
