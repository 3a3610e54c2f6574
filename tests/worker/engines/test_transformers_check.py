"""Which models the engine computes as the library does, and that it refuses the others at the start."""

from __future__ import annotations

import pytest
import torch
import transformers
from engines import order, run, tiny_options
from generated_apart import TEXTS, generated_apart

from worker.engines.contract import EngineError
from worker.engines.transformers.check import check, check_windows, plain_logits
from worker.engines.transformers.engine import TransformersEngine
from worker.engines.transformers.load import load

HALF = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 8}


def test_a_model_that_is_computed_otherwise_than_it_is_meant_is_refused(engine, loaded):
    expected = plain_logits(loaded.model, loaded.vocabulary, loaded.device)
    loaded.model.set_attn_implementation("tokenwire")
    check(engine._runner, expected, loaded.vocabulary)
    with pytest.raises(EngineError, match="serve it by another engine"):
        check(engine._runner, expected * 1.1, loaded.vocabulary)


def tiny(kind, **config):
    """Make another family's model of random weights."""
    torch.manual_seed(3)
    shape = {
        "vocab_size": 320,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 256,
        "initializer_range": 0.3,
    }
    made = getattr(transformers, f"{kind}Config")(**{**shape, **config})
    return getattr(transformers, f"{kind}ForCausalLM")(made)


def of_family(tiny_model_dir, folder, kind, **config):
    tokenizer = load(tiny_options(tiny_model_dir)).tokenizer
    tiny(kind, bos_token_id=0, eos_token_id=1, pad_token_id=1, **config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load(tiny_options(folder))


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("Mistral", {"sliding_window": 8}),
        ("Qwen2", {}),
        ("Qwen3", {}),
        ("Phi3", {}),
        ("Gemma", {}),
        ("Cohere2", HALF),
        ("Olmo3", HALF),
    ],
)
def test_other_families_generate_as_the_library_does(tiny_model_dir, tmp_path, kind, config):
    loaded = of_family(tiny_model_dir, tmp_path, kind, **config)
    engine = TransformersEngine(loaded, tiny_options(tmp_path))
    heard = run(engine, *(order(f"r{n}", text, max_tokens=20) for n, text in enumerate(TEXTS)))
    for n, text in enumerate(TEXTS):
        ids, _ = generated_apart(tmp_path, loaded.tokenizer, text, 20)
        assert heard.ids(f"r{n}") == ids


@pytest.mark.parametrize(
    ("kind", "config"), [("Gemma2", {"attn_logit_softcapping": 0.5}), ("Bloom", {}), ("Mamba", {})]
)
def test_a_family_with_another_kind_of_attention_is_refused_at_the_start(
    tiny_model_dir, tmp_path, kind, config
):
    loaded = of_family(tiny_model_dir, tmp_path, kind, **config)
    with pytest.raises(EngineError, match="serve it by another engine"):
        TransformersEngine(loaded, tiny_options(tmp_path))


def test_ids_that_the_tokenizer_has_not_are_computed_and_make_no_text(tiny_model_dir, tmp_path):
    """Embeddings are often padded to a round number."""
    loaded = of_family(tiny_model_dir, tmp_path, "Qwen2", vocab_size=4096)
    heard = run(TransformersEngine(loaded, tiny_options(tmp_path)), order("a", max_tokens=30, top_logprobs=2))
    ids, text = generated_apart(tmp_path, loaded.tokenizer, "the quick brown fox", 30)
    assert max(ids) >= len(loaded.tokenizer)
    assert (heard.ids("a"), heard.text("a")) == (ids, text)


class Config:
    """A model's configuration, as far as it says what its layers see."""

    def __init__(self, **told):
        self.__dict__.update(told)


@pytest.mark.parametrize(
    ("told", "config"),
    [
        ({0: None, 1: None}, Config()),
        ({0: None}, Config(sliding_window=None)),
        ({0: None}, Config(sliding_window=0)),
        ({0: 8}, Config(sliding_window=8)),
        ({0: None}, Config(sliding_window=64)),
        ({0: 8, 1: None}, Config(**HALF)),
        ({0: None}, Config(layer_types=["chunked_attention"], attention_chunk_size=64)),
    ],
)
def test_a_window_that_attention_was_told_or_that_holds_the_context_is_fine(told, config):
    check_windows(told, config, 64)


@pytest.mark.parametrize(
    ("told", "config"),
    [
        ({0: None}, Config(sliding_window=8)),
        ({0: 8, 1: None}, Config(layer_types=["sliding_attention"] * 2, sliding_window=8)),
        ({0: None}, Config(layer_types=["chunked_attention"], attention_chunk_size=8)),
    ],
)
def test_a_window_that_only_the_models_own_mask_knows_is_refused(told, config):
    with pytest.raises(EngineError, match="set CONTEXT_LENGTH to 8 or less"):
        check_windows(told, config, 64)


def test_a_model_whose_window_its_attention_does_not_know_is_served_within_it(tiny_model_dir, tmp_path):
    of_family(tiny_model_dir, tmp_path, "Phimoe", sliding_window=48, num_local_experts=2)
    with pytest.raises(EngineError, match="set CONTEXT_LENGTH to 48 or less"):
        TransformersEngine(load(tiny_options(tmp_path)), tiny_options(tmp_path))
    within = tiny_options(tmp_path, context_length=48)
    loaded = load(within)
    heard = run(TransformersEngine(loaded, within), order("a", "the fox", max_tokens=20))
    assert heard.ids("a") == generated_apart(tmp_path, loaded.tokenizer, "the fox", 20)[0]


def test_a_model_that_cannot_compute_itself_is_one_sentence(loaded):
    loaded.model.forward = None
    with pytest.raises(EngineError, match="cannot compute this model"):
        plain_logits(loaded.model, loaded.vocabulary, loaded.device)
