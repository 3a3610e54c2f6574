"""From messages to the ids of a prompt, by the model's own chat template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shared.request import Message


def encode(tokenizer: Any, messages: Sequence[Message], *, raw: bool = False) -> list[int]:
    """Return the prompt's token ids, ending where the assistant's answer begins.

    ``raw`` texts are the prompt as they stand: the model goes on where they end.

    A model without a chat template gets ``role: text`` on a line of its own for every message and a last
    line ``assistant:``.  Raises whatever the template raises about a conversation it does not take.
    """
    if raw:
        return list(tokenizer("".join(message.text for message in messages))["input_ids"])
    if tokenizer.chat_template is None:
        return list(tokenizer(plain(messages))["input_ids"])
    conversation = [{"role": message.role, "content": message.text} for message in messages]
    ids = tokenizer.apply_chat_template(
        conversation, add_generation_prompt=True, tokenize=True, return_dict=False
    )
    return list(ids)


def plain(messages: Sequence[Message]) -> str:
    """Return the conversation as lines, for a model that was never taught a chat format."""
    return "".join(f"{message.role}: {message.text}\n" for message in messages) + "assistant:"
