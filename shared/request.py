"""The request as it travels from the gateway through Redis to a worker: validated once, then frozen."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

Role = Literal["system", "user", "assistant"]

ANY_OBJECT = '{"type":"object"}'
"""The grammar of an answer that is asked to be JSON, and no more."""
MOST_GRAMMAR = 16 * 1024
"""Bytes of a grammar."""
MOST_LOGPROBS = 20
"""Likeliest tokens that are told with each one at most, as in OpenAI's API."""


class Keeps(StrEnum):
    """How a worker keeps answers to a JSON schema, as it announces it."""

    UNKNOWN = ""
    """By what is asked behind it, an upstream, or by a worker of an older version: nobody else can say."""
    NONE = "none"
    """Not at all."""
    GRAMMAR = "grammar"
    """As ``shared.grammar`` compiles it; what that refuses, it refuses."""


class Message(msgspec.Struct, frozen=True, array_like=True):
    """One message of the conversation, plain text."""

    role: Role
    text: str


class Sampling(msgspec.Struct, frozen=True, omit_defaults=True):
    """How tokens are chosen.  The seed is always set at submission, so that any worker draws alike."""

    max_tokens: int
    seed: int
    temperature: float = 1.0
    """0 means greedy."""
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    frequency_penalty: float = 0.0
    """Taken off a token's logit for each time it was generated before."""
    presence_penalty: float = 0.0
    """Taken off a token's logit once, if it was generated before."""
    top_logprobs: int | None = None
    """How many likeliest tokens are told beside each generated one, 0 to 20; None tells no logprobs."""
    grammar: str = ""
    """A JSON schema, as text, that the answer keeps to; empty for plain text."""


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    """One asked response.

    Version N reads what N-1 wrote and the reverse: fields are only added, with defaults, never renamed.
    """

    response_id: str
    model: str
    principal: str
    messages: tuple[Message, ...]
    sampling: Sampling
    keep: float = 30.0
    """Seconds the response goes on after its last viewer left; 0 ends it at once, -1 never."""
    queue_seconds: float = 60.0
    run_seconds: float = 300.0
    idempotency_key: str = ""
    echo: dict[str, object] = {}
    """Fields of the API that the response object shows again as they were asked."""
    stored: bool = False
    """What was asked and said is kept as a conversation's state, so that a later request may go on from it."""
    raw: bool = False
    """The texts of the messages are the prompt itself: the model's chat template is not put around them."""
    traceparent: str = ""
    """W3C trace context of the asker, or empty."""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Request)


def encode(request: Request) -> bytes:
    """Return the JSON under which the request is stored."""
    return _encoder.encode(request)


def decode(raw: bytes | str) -> Request:
    """Read a stored request.  Raises msgspec.ValidationError if it is not one."""
    return _decoder.decode(raw)
