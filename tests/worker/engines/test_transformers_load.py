"""Finding and loading a model, and every way in which that goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from engines import tiny_options

from shared.request import Message
from worker.engines.contract import EngineError
from worker.engines.options import TransformersOptions
from worker.engines.transformers.load import _context_length, _end_ids, load
from worker.engines.transformers.prompt import encode, plain
from worker.engines.transformers.revision import revision

CONVERSATION = [
    Message("system", "Be kind."),
    Message("user", "Hi"),
    Message("assistant", "Yes?"),
    Message("user", "So"),
]


def copy(folder, target):
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_a_folder_is_loaded_and_named_after_itself(tiny_model_dir):
    loaded = load(tiny_options(tiny_model_dir))
    assert (loaded.name, loaded.context_length, loaded.end_ids) == (tiny_model_dir.name, 256, frozenset({1}))
    assert loaded.build == f"transformers|{revision(tiny_model_dir)}|float32"


def test_a_tokenizer_that_cuts_and_pads_is_told_once_to_do_neither(tiny_model_dir, tmp_path):
    """The library would tell it at the first prompt, and fail if another thread used it just then."""
    twin = copy(tiny_model_dir, tmp_path)
    content = json.loads((twin / "tokenizer.json").read_text())
    cut = {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0}
    pad = {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None}
    pad |= {"pad_id": 1, "pad_type_id": 0, "pad_token": "<|im_end|>"}
    (twin / "tokenizer.json").write_text(json.dumps(content | {"truncation": cut, "padding": pad}))
    backend = load(tiny_options(twin)).backend
    assert (backend.truncation, backend.padding) == (None, None)


@pytest.mark.parametrize(
    ("told", "special", "ends"),
    [([1, 5], "x", {1, 5}), (7, "x", {7}), (0, "x", {0}), (None, "<|im_end|>", {1}), (None, None, set())],
)
def test_an_answer_ends_at_what_the_model_says_or_else_the_tokenizer(tiny_model_dir, told, special, ends):
    loaded = load(tiny_options(tiny_model_dir))
    loaded.model.generation_config.eos_token_id = told
    loaded.tokenizer.eos_token = special
    assert _end_ids(loaded.model, loaded.tokenizer) == ends


def test_a_name_and_a_shorter_context_may_be_set(tiny_model_dir):
    loaded = load(tiny_options(tiny_model_dir, name="mine", context_length=100))
    assert (loaded.name, loaded.context_length) == ("mine", 100)


def test_a_context_longer_than_the_model_knows_is_cut(tiny_model_dir):
    assert load(tiny_options(tiny_model_dir, context_length=9999)).context_length == 256


LONG = {"rope_type": "longrope", "original_max_position_embeddings": 64, "rope_theta": 1e4}


@pytest.mark.parametrize(
    ("ropes", "length"),
    [
        (LONG, 64),
        ({"sliding_attention": {"rope_type": "default"}, "full_attention": LONG}, 64),
        (LONG | {"original_max_position_embeddings": 999}, 256),
        ({"rope_type": "dynamic", "factor": 2.0}, 256),
        (None, 256),
    ],
)
def test_no_answer_is_so_long_that_it_changes_how_its_neighbours_are_computed(ropes, length):
    class Config:
        max_position_embeddings = 256
        rope_parameters = ropes

    lines = []
    options = TransformersOptions(Path(), say=lines.append)
    assert _context_length(options, Config()) == length
    assert bool(lines) is (length == 64)


def test_another_precision_is_another_build(tiny_model_dir):
    assert load(tiny_options(tiny_model_dir, dtype="bfloat16")).build.endswith("|bfloat16")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"model": "no/such model"}, "neither a folder nor"),
        ({"dtype": "int3"}, "not one of auto"),
        ({"device": "warp"}, "^The device 'warp' cannot be used .*set DEVICE to auto, cpu, cuda or cuda:1.$"),
        ({"device": "mps"}, "^The device 'mps' cannot be used .{0,120}set DEVICE to"),
        ({"device": "meta"}, "^The device 'meta' cannot be used .it computes nothing.: set DEVICE to"),
        ({"model": "/nowhere"}, "^There is no folder /nowhere: set MODEL"),
    ],
)
def test_a_wrong_setting_is_one_sentence(tiny_model_dir, wrong, sentence):
    with pytest.raises(EngineError, match=sentence):
        load(tiny_options(tiny_model_dir, **wrong))


def test_a_folder_without_a_model_is_one_sentence(tmp_path):
    with pytest.raises(EngineError, match=r"^There is no model in .* \(no config.json\): set MODEL"):
        load(tiny_options(tmp_path))


def test_a_folder_of_this_user_is_found_by_its_tilde(tiny_model_dir, monkeypatch):
    monkeypatch.setenv("HOME", str(tiny_model_dir.parent))
    assert load(tiny_options(f"~/{tiny_model_dir.name}")).name == tiny_model_dir.name


def test_equal_models_have_equal_revisions_whoever_wrote_them(tiny_model_dir, tmp_path):
    twin = copy(tiny_model_dir, tmp_path)
    config = json.loads((twin / "config.json").read_text())
    (twin / "config.json").write_text(
        json.dumps(config | {"transformers_version": "9", "_name_or_path": "x"})
    )
    assert revision(twin) == revision(tiny_model_dir)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_another_setting_is_another_revision(tiny_model_dir, tmp_path, name):
    twin = copy(tiny_model_dir, tmp_path)
    content = json.loads((twin / name).read_text())
    (twin / name).write_text(json.dumps(content | {"rope_theta": 5.0}))
    assert revision(twin) != revision(tiny_model_dir)


def test_other_weights_of_the_same_shape_are_another_revision(tiny_model_dir, tmp_path):
    twin = copy(tiny_model_dir, tmp_path)
    weights = bytearray((twin / "model.safetensors").read_bytes())
    weights[-64] ^= 1  # in the last tensor, which is small
    (twin / "model.safetensors").write_bytes(weights)
    assert revision(twin) != revision(tiny_model_dir)


def test_a_model_without_safetensors_has_no_revision(tmp_path):
    with pytest.raises(EngineError, match="safetensors"):
        revision(tmp_path)


def test_a_prompt_is_what_the_models_template_makes_of_it(tiny_model_dir):
    tokenizer = load(tiny_options(tiny_model_dir)).tokenizer
    text = tokenizer.decode(encode(tokenizer, CONVERSATION))
    assert text.startswith("<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi")
    assert text.endswith("<|im_start|>assistant\n")


def test_a_model_without_a_template_gets_lines(tiny_model_dir):
    tokenizer = load(tiny_options(tiny_model_dir)).tokenizer
    tokenizer.chat_template = None
    assert tokenizer.decode(encode(tokenizer, CONVERSATION)) == plain(CONVERSATION)
    assert plain(CONVERSATION) == "system: Be kind.\nuser: Hi\nassistant: Yes?\nuser: So\nassistant:"


def test_a_raw_prompt_is_read_as_it_stands(tiny_model_dir):
    tokenizer = load(tiny_options(tiny_model_dir)).tokenizer
    ids = encode(tokenizer, [Message("user", "The quick")], raw=True)
    assert tokenizer.decode(ids) == "The quick"
