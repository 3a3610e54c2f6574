"""What the library's own loop generates, to compare with."""

from __future__ import annotations

import torch
from transformers import AutoModelForCausalLM

from shared.request import Message
from worker.engines.transformers.prompt import encode

TEXTS = [
    "the fox",
    "Once",
    "for i in range(10):\n\tprint(i)",
    "你好世界 " * 6,
    "the end, the end of the story. " * 4,
]


def generated_apart(folder, tokenizer, text, max_new_tokens, *, raw=False):
    """Return what the library's own loop generates: ids, and their text without special tokens."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    prompt = list(tokenizer(text)["input_ids"]) if raw else encode(tokenizer, [Message("user", text)])
    ids = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        pad_token_id=1,
    )[0, len(prompt) :].tolist()
    return ids, tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
