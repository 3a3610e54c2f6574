"""The bodies of the two older APIs, chat completions and completions, and the create that each asks for.

Both are other words for the same thing: what is asked becomes a create, its answer lies in the same log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.create import (
    LOGPROBS,
    NEUTRAL,
    Create,
    Item,
    Likeliest,
    Metadata,
    ModelName,
    Part,
    Penalty,
    Role,
    Seed,
    Stop,
    Temperature,
    Tokens,
    TopP,
    message,
    nothing_asked,
    one_of,
    refuse_unsupported,
)
from gateway.errors import Code, RefusedError, WireError
from gateway.formats import ResponseFormat, of_chat

COMPLETION_TOKENS = 16
"""``max_tokens`` of a completion that asks for none, as in the API it comes from."""


Prompt = Annotated[str, Meta(min_length=1)]


class StreamOptions(msgspec.Struct, frozen=True):
    """``stream_options``."""

    include_usage: bool | None = None


class ChatMessage(msgspec.Struct, frozen=True):
    """One message of a chat."""

    role: Role
    content: str | list[Part] | None = None


class Chat(msgspec.Struct, frozen=True):
    """The body of ``POST /v1/chat/completions``: the fields that we act on."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    model: ModelName | None = None
    max_completion_tokens: Tokens | None = None
    max_tokens: Tokens | None = None
    """The older name; the newer one counts if both are there."""
    temperature: Temperature | None = None
    top_p: TopP | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logprobs: bool | None = None
    top_logprobs: Likeliest | None = None
    response_format: ResponseFormat | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    metadata: Metadata | None = None
    store: bool | None = None
    user: str | None = None


class Completion(msgspec.Struct, frozen=True):
    """The body of ``POST /v1/completions``: the fields that we act on."""

    prompt: Prompt | Annotated[list[Prompt], Meta(min_length=1, max_length=1)]
    model: ModelName | None = None
    max_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logprobs: Likeliest | None = None
    """How many likeliest tokens are told beside each one."""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None


CHAT_NEUTRAL: Mapping[str, Callable[[object], bool]] = {
    "tools": NEUTRAL["tools"],
    "tool_choice": NEUTRAL["tool_choice"],
    "functions": nothing_asked,
    "function_call": one_of("none", "auto"),
    "reasoning_effort": one_of("none"),
    "verbosity": one_of("medium"),
    "modalities": NEUTRAL["modalities"],
    "audio": one_of(),
    "prediction": one_of(),
    "web_search_options": one_of(),
    "n": one_of(1),
    "logit_bias": nothing_asked,
}
"""Fields of chat completions that are accepted at their neutral value only."""

CHAT_NAMES: Mapping[str, str] = MappingProxyType(
    {"text.format": "response_format", "text.format.schema": "response_format.json_schema.schema"}
)
"""Fields of a create that only its workers can judge, as a chat calls them."""

MESSAGE_NEUTRAL: Mapping[str, Callable[[object], bool]] = {
    "tool_calls": nothing_asked,
    "function_call": one_of(),
    "audio": one_of(),
}
"""The same of one message."""

COMPLETION_NEUTRAL: Mapping[str, Callable[[object], bool]] = {
    "n": one_of(1),
    "best_of": one_of(1),
    "echo": one_of(False),
    "suffix": one_of(""),
    "logit_bias": nothing_asked,
}
"""Fields of completions that are accepted at their neutral value only."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What one of these bodies asks for."""

    create: Create
    usage: bool = False
    """A stream tells the usage in a chunk of its own."""
    names: Mapping[str, str] = field(default_factory=dict)
    """What the body calls those fields of a create that it calls otherwise."""

    def spelled(self, error: WireError) -> WireError:
        """Return an error about the create in the words of the body."""
        return replace(error, param=self.names.get(error.param or "", error.param))


def from_chat(chat: Chat, fields: Mapping[str, object]) -> Asked:
    """Return what a chat asks for; ``fields`` are all that were sent.  Raises RefusedError."""
    refuse_unsupported(fields, CHAT_NEUTRAL)
    if chat.top_logprobs and not chat.logprobs:
        sentence = "top_logprobs are told with logprobs: true."
        raise RefusedError(WireError(Code.INVALID_REQUEST, sentence, "top_logprobs"))
    sent = fields["messages"]
    for at, each in enumerate(sent if isinstance(sent, list) else ()):
        _check_message(each, f"messages[{at}]")
    create = Create(
        input=[_item(each, f"messages[{at}]") for at, each in enumerate(chat.messages)],
        model=chat.model,
        max_output_tokens=chat.max_completion_tokens or chat.max_tokens,
        temperature=chat.temperature,
        top_p=chat.top_p,
        seed=chat.seed,
        stop=chat.stop,
        frequency_penalty=chat.frequency_penalty,
        presence_penalty=chat.presence_penalty,
        include=[LOGPROBS] if chat.logprobs else None,
        top_logprobs=chat.top_logprobs if chat.logprobs else None,
        text=of_chat(chat.response_format),
        stream=chat.stream,
        metadata=chat.metadata,
        store=bool(chat.store),
        user=chat.user,
    )
    return Asked(create, _wants_usage(chat.stream_options), CHAT_NAMES)


def from_completion(completion: Completion, fields: Mapping[str, object]) -> Asked:
    """Return what a completion asks for; ``fields`` are all that were sent.  Raises RefusedError."""
    refuse_unsupported(fields, COMPLETION_NEUTRAL)
    create = Create(
        input=completion.prompt if isinstance(completion.prompt, str) else completion.prompt[0],
        raw=True,
        model=completion.model,
        max_output_tokens=completion.max_tokens or COMPLETION_TOKENS,
        temperature=completion.temperature,
        top_p=completion.top_p,
        seed=completion.seed,
        stop=completion.stop,
        frequency_penalty=completion.frequency_penalty,
        presence_penalty=completion.presence_penalty,
        include=None if completion.logprobs is None else [LOGPROBS],
        top_logprobs=completion.logprobs,
        stream=completion.stream,
        store=False,
        user=completion.user,
    )
    return Asked(create, _wants_usage(completion.stream_options))


def _check_message(sent: object, path: str) -> None:
    if not isinstance(sent, dict):
        return  # its type was checked already
    if sent.get("role") in ("tool", "function"):
        sentence = "Messages of tools are not supported."
        raise RefusedError(WireError(Code.UNSUPPORTED_PARAMETER, sentence, f"{path}.role"))
    for name, neutral in MESSAGE_NEUTRAL.items():
        if not neutral(sent.get(name)):
            sentence = f"{name!r} is not supported."
            raise RefusedError(WireError(Code.UNSUPPORTED_PARAMETER, sentence, f"{path}.{name}"))


def _item(sent: ChatMessage, path: str) -> Item:
    read = message(sent.role, sent.content, path)
    return Item(role=read.role, content=read.text)


def _wants_usage(options: StreamOptions | None) -> bool:
    return options is not None and bool(options.include_usage)
