"""Tokens as bytes, on a byte-level vocabulary and on one with byte fallback."""

from __future__ import annotations

import pytest
from tokenizers import AddedToken, Tokenizer, decoders
from tokenizers.models import BPE
from transformers import AutoTokenizer

from shared.logprobs import Spelled
from worker.engines.transformers.spelling import Speller

TEXT = "naïve café 👍🏽 你好\n\tend"


def raw(token: Spelled) -> bytes:
    return token.encode() if isinstance(token, str) else bytes(token)


def test_the_tokens_of_a_text_are_its_bytes(tiny_model_dir):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir).backend_tokenizer
    speller = Speller(tokenizer)
    ids = tokenizer.encode(TEXT, add_special_tokens=False).ids
    assert b"".join(raw(speller.spell(token_id)) for token_id in ids).decode() == TEXT
    assert any(isinstance(speller.spell(token_id), tuple) for token_id in ids)


@pytest.fixture
def fallback():
    vocabulary = {"<unk>": 0, "<0xF0>": 1, "\u2581the": 2, "caf": 3, "é": 4, "</s>": 5}
    tokenizer = Tokenizer(BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback()])
    tokenizer.add_special_tokens([AddedToken("</s>", special=True)])
    return Speller(tokenizer)


def test_a_sentencepiece_vocabulary_is_spelled_too(fallback):
    assert [fallback.spell(n) for n in range(1, 5)] == [(0xF0,), " the", "caf", "é"]


def test_special_tokens_are_spelled_as_they_are_and_ids_without_a_token_as_nothing(fallback):
    assert (fallback.spell(5), fallback.spell(4711)) == ("</s>", "")
