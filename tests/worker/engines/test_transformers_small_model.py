"""The real small model: what it says, that it streams, and that another worker goes on with it."""

from __future__ import annotations

import json

import pytest
import torch
from engines import Heard, order, run
from jsonschema import validate
from transformers import AutoModelForCausalLM

from shared.request import Message
from worker.engines.contract import Piece
from worker.engines.options import TransformersOptions
from worker.engines.transformers.engine import TransformersEngine
from worker.engines.transformers.prompt import encode

pytestmark = pytest.mark.model

ASKED = [
    "What is the capital of France?",
    "Count to ten with emoji.",
    "Schreibe einen Satz über Käse in Zürich.",
]
TOKENS = 24
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "country": {"type": "string", "maxLength": 40},
        "population": {"type": "integer", "minimum": 0, "maximum": 99999999},
        "capital": {"type": "boolean"},
    },
    "required": ["name", "country", "population", "capital"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def engine(small_model_dir):
    return TransformersEngine.start(
        TransformersOptions(cache=small_model_dir.parent, slots=4, threads=1, device="cpu")
    )


def generated_apart(folder, tokenizer, text):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    prompt = torch.tensor([encode(tokenizer, [Message("user", text)])])
    made = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=TOKENS, do_sample=False
    )
    ids = made[0, prompt.shape[1] :].tolist()
    return ids, tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def test_it_is_the_small_model_in_float32(engine):
    assert (engine.info.model, engine.info.context_length) == ("SmolLM2-135M-Instruct", 8192)
    assert engine.info.build.endswith("|float32")


def test_greedy_text_is_what_generate_makes_though_sequences_join_at_different_steps(engine, small_model_dir):
    heard = Heard()
    for n, text in enumerate(ASKED):
        heard.events += run(engine, order(f"r{n}", text, max_tokens=TOKENS), steps=3).events
    heard.events += run(engine).events
    for n, text in enumerate(ASKED):
        said = heard.ids(f"r{n}"), heard.text(f"r{n}")
        assert said == generated_apart(small_model_dir, engine._loaded.tokenizer, text)
    assert "Paris" in heard.text("r0")


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.8, "top_p": 0.9, "seed": 3}])
def test_resumed_it_goes_on_as_undisturbed(engine, sampling):
    wanted = {**sampling, "max_tokens": TOKENS}
    whole = run(engine, order("a", ASKED[1], **wanted))
    text, ids, reason = whole.answer("a")
    points = (1, 7, 13, 20)
    logged = {k: "".join(piece.text for piece in whole.pieces("a")[:k]) for k in points}
    heard = run(engine, *(order(f"r{k}", ASKED[1], ids=ids[:k], logged=logged[k], **wanted) for k in points))
    for k in points:
        more, later, ending = heard.answer(f"r{k}")
        assert (logged[k] + more, ids[:k] + later, ending) == (text, ids, reason)


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.8, "top_p": 0.9, "seed": 3}])
def test_it_answers_in_json_of_a_schema_and_another_goes_on_with_it(engine, sampling):
    text = f"Describe the city of Paris in JSON with these fields: {', '.join(SCHEMA['properties'])}."
    wanted = {**sampling, "max_tokens": 120, "grammar": json.dumps(SCHEMA)}
    whole = run(engine, order("a", text, **wanted), order("plain", ASKED[0], max_tokens=TOKENS))
    said, ids, reason = whole.answer("a")
    assert reason == "stop"
    validate(json.loads(said), SCHEMA)
    assert "Paris" in whole.text("plain")
    points = (1, 5, len(ids) // 2, len(ids) - 1)
    logged = {k: "".join(piece.text for piece in whole.pieces("a")[:k]) for k in points}
    heard = run(engine, *(order(f"r{k}", text, ids=ids[:k], logged=logged[k], **wanted) for k in points))
    for k in points:
        more, later, ending = heard.answer(f"r{k}")
        assert (logged[k] + more, ids[:k] + later, ending) == (said, ids, reason)


def test_streaming_is_real_by_the_step_counter(engine):
    before, deltas, first = engine.stats().steps, 0, 0
    engine.prepare(order("a", "Tell me a long story about a lighthouse.", max_tokens=400))()
    while deltas < 5:
        deltas += sum(1 for event in engine.step() if isinstance(event, Piece) and event.text)
        first = first or (engine.stats().steps - before if deltas else 0)
    engine.cancel("a")
    assert first < 3
    assert engine.stats().steps - before < 15
    assert run(engine).events == []
    assert engine.stats().running == 0
