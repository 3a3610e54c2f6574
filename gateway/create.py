"""A create: the fields that we act on, those accepted at their neutral value, and the request it becomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.errors import Code, RefusedError, WireError
from gateway.formats import Text, check_format, grammar_of, shown
from shared.request import MOST_LOGPROBS, Message, Request, Sampling
from shared.request import Role as Speaker

Tokens = Annotated[int, Meta(ge=1, le=1_000_000)]
Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)
]
StopString = Annotated[str, Meta(min_length=1, max_length=256)]
Stop = StopString | Annotated[list[StopString], Meta(max_length=4)]
ModelName = Annotated[str, Meta(min_length=1, max_length=256)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
TopP = Annotated[float, Meta(gt=0, le=1)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Role = Annotated[str, Meta(extra_json_schema={"enum": ["system", "developer", "user", "assistant"]})]
PartType = Annotated[str, Meta(extra_json_schema={"enum": ["text", "input_text", "output_text"]})]
ItemType = Annotated[str, Meta(extra_json_schema={"const": "message"})]
"""Refused with sentences of our own, hence texts here."""
EventId = Annotated[str, Meta(max_length=256)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Likeliest = Annotated[int, Meta(ge=0, le=MOST_LOGPROBS)]
LOGPROBS = "message.output_text.logprobs"


class Part(msgspec.Struct, frozen=True):
    """One part of a message's content."""

    type: PartType
    text: str | None = None


class Item(msgspec.Struct, frozen=True):
    """One item of the input."""

    type: ItemType = "message"
    role: Role | None = None
    content: str | list[Part] | None = None


class Create(msgspec.Struct, frozen=True):
    """``response.create``, or the body of ``POST /v1/responses``: the fields that we act on."""

    input: str | list[Item]
    model: ModelName | None = None
    instructions: str | None = None
    max_output_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    include: list[str] | None = None
    """``message.output_text.logprobs`` asks for logprobs; what else may stand here, answers never hold."""
    top_logprobs: Likeliest | None = None
    text: Text | None = None
    """The form of the answer: plain text, JSON, or JSON of a schema."""
    metadata: Metadata | None = None
    store: bool | None = None
    previous_response_id: Annotated[str, Meta(max_length=256)] | None = None
    background: bool | None = None
    stream: bool | None = None
    user: str | None = None
    # Ours:
    seed: Seed | None = None
    stop: Stop | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    keep: Annotated[float, Meta(ge=-1, le=3600)] | None = None
    """Seconds the response goes on after its last viewer left: 0 ends it at once, -1 lets it end by itself."""
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    raw: bool | None = None
    """The input, a text, is the prompt itself: no chat template is put around it."""
    # The envelope:
    stream_id: str | None = None
    event_id: EventId | None = None


# ---- fields of the API that are accepted at their neutral value only ------------------------------


def nothing_asked(value: object) -> bool:
    """Say whether a value is null or empty."""
    return value is None or value in ([], {})


def one_of(*values: object) -> Callable[[object], bool]:
    """Return whether a value is null or one of these, of the same type."""
    return lambda value: value is None or any(value == each and type(value) is type(each) for each in values)


def _usual_verbosity(value: object) -> bool:
    return not isinstance(value, dict) or value.get("verbosity") in (None, "medium")


def _plain_text(value: object) -> bool:
    return value is None or (isinstance(value, dict) and value.get("type") == "text")


def _all_null(value: object) -> bool:
    return value is None or (isinstance(value, dict) and all(each is None for each in value.values()))


NEUTRAL: Mapping[str, Callable[[object], bool]] = {
    "tools": nothing_asked,
    "tool_choice": one_of("none", "auto"),
    "text": _usual_verbosity,
    "reasoning": _all_null,
    "truncation": one_of("disabled"),
    "conversation": one_of(),
    "prompt": one_of(),
    "logprobs": one_of(False),
    "n": one_of(1),
    "generate": one_of(True),
    "modalities": one_of(["text"]),
    "audio": one_of(),
    "logit_bias": nothing_asked,
    "response_format": _plain_text,
}
"""Fields that would change the answer and are not supported yet, each with what its neutral value is."""


def check(create: Create, fields: Mapping[str, object]) -> None:
    """Refuse what the types cannot: ``fields`` are all that were sent.  Raises RefusedError."""
    refuse_unsupported(fields, NEUTRAL)
    if create.keep is not None and -1 < create.keep < 0:
        sentence = "keep is seconds, 0 for none, or -1 for ever."
        raise RefusedError(WireError(Code.INVALID_REQUEST, sentence, "keep"))
    if create.text and create.text.format:
        check_format(create.text.format, "text.format")
    bare = not (create.instructions or create.previous_response_id)
    if create.raw and not (isinstance(create.input, str) and create.input and bare):
        sentence = "A raw input is a text that is not empty, without instructions or what was said before."
        raise RefusedError(WireError(Code.INVALID_REQUEST, sentence, "input"))
    conversation(create)


def refuse_unsupported(
    fields: Mapping[str, object], neutrals: Mapping[str, Callable[[object], bool]]
) -> None:
    """Refuse by its name a field that has another value than its neutral one.  Raises RefusedError."""
    for name, neutral in neutrals.items():
        if name in fields and not neutral(fields[name]):
            raise RefusedError(WireError(Code.UNSUPPORTED_PARAMETER, f"{name!r} is not supported.", name))


# ---- from a command to a request ------------------------------------------------------------------

_ROLES: Mapping[str, Speaker] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
_TEXT_PARTS = ("text", "input_text", "output_text")


def conversation(create: Create, before: tuple[Message, ...] = ()) -> tuple[Message, ...]:
    """Return the messages of a create: instructions as a system message, what was said before, the input.

    Raises RefusedError.
    """
    instructions = (Message("system", create.instructions),) if create.instructions else ()
    head = (*instructions, *before)
    if isinstance(create.input, str):
        return (*head, Message("user", create.input))
    if not create.input:
        raise RefusedError(WireError(Code.INVALID_REQUEST, "The input is empty.", "input"))
    return (*head, *(_message(item, f"input[{at}]") for at, item in enumerate(create.input)))


def _message(item: Item, path: str) -> Message:
    if item.type != "message":
        raise RefusedError(
            WireError(
                Code.UNSUPPORTED_PARAMETER, f"Items of type {item.type!r} are not supported.", f"{path}.type"
            )
        )
    return message(item.role, item.content, path)


def message(asked_role: str | None, content: str | Sequence[Part] | None, path: str) -> Message:
    """Return one message of a conversation; ``path`` is where it stands.  Raises RefusedError."""
    role = _ROLES.get(asked_role or "")
    if role is None:
        sentence = f"The role must be one of {', '.join(_ROLES)}."
        raise RefusedError(WireError(Code.INVALID_REQUEST, sentence, f"{path}.role"))
    if content is None:
        raise RefusedError(WireError(Code.INVALID_REQUEST, "A message needs content.", f"{path}.content"))
    if isinstance(content, str):
        return Message(role, content)
    return Message(role, "".join(_part(part, f"{path}.content[{at}]") for at, part in enumerate(content)))


def _part(part: Part, path: str) -> str:
    if part.type not in _TEXT_PARTS:
        sentence = f"Content of type {part.type!r} is not supported."
        raise RefusedError(WireError(Code.UNSUPPORTED_PARAMETER, sentence, f"{path}.type"))
    if part.text is None:
        raise RefusedError(WireError(Code.INVALID_REQUEST, "A text part needs text.", f"{path}.text"))
    return part.text


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a request gets where its asker said nothing, and the bounds of what may be asked."""

    max_tokens: int = 1024
    max_tokens_limit: int = 4096
    keep: float = 30.0
    queue_seconds: float = 60.0
    run_seconds: float = 300.0


def idempotency_key(create: Create) -> str:
    """Return the key under which a repeated create is the same one, or nothing."""
    return create.idempotency_key or (create.metadata or {}).get("idempotency_key", "")


def to_request(  # noqa: PLR0913 - the parts of a request that a create does not hold
    create: Create,
    *,
    response_id: str,
    model: str,
    principal: str,
    seed: int,
    defaults: Defaults,
    before: tuple[Message, ...] = (),
    traceparent: str = "",
) -> Request:
    """Fix a checked create for good.

    ``seed`` is used if none was asked, ``before`` is the conversation that it goes on from.
    """
    return Request(
        response_id=response_id,
        model=model,
        principal=principal,
        messages=conversation(create, before),
        sampling=_sampling(create, defaults, seed),
        keep=_keep(create, defaults),
        queue_seconds=defaults.queue_seconds,
        run_seconds=defaults.run_seconds,
        idempotency_key=idempotency_key(create),
        echo=_echo(create),
        stored=create.store is not False and not create.raw,
        raw=bool(create.raw),
        traceparent=traceparent,
    )


def _sampling(create: Create, defaults: Defaults, seed: int) -> Sampling:
    stop = (create.stop,) if isinstance(create.stop, str) else tuple(create.stop or ())
    return Sampling(
        max_tokens=min(create.max_output_tokens or defaults.max_tokens, defaults.max_tokens_limit),
        # A natural number that fits 64 signed bits, whatever a worker computes with.
        seed=(seed if create.seed is None else create.seed) % 2**63,
        temperature=1.0 if create.temperature is None else create.temperature,
        top_p=1.0 if create.top_p is None else create.top_p,
        stop=stop,
        frequency_penalty=create.frequency_penalty or 0.0,
        presence_penalty=create.presence_penalty or 0.0,
        top_logprobs=_top_logprobs(create),
        grammar=grammar_of(create.text.format if create.text else None),
    )


def _top_logprobs(create: Create) -> int | None:
    """Return how many likeliest tokens are told with each token's logprob; None if none were asked for."""
    asked = LOGPROBS in (create.include or ()) or create.top_logprobs
    return (create.top_logprobs or 0) if asked else None


def _keep(create: Create, defaults: Defaults) -> float:
    if create.background:
        return -1.0
    return defaults.keep if create.keep is None else create.keep


def _echo(create: Create) -> dict[str, object]:
    """Return what the response object shows as it was asked; absent fields were not asked."""
    asked = {
        "instructions": create.instructions,
        "max_output_tokens": create.max_output_tokens,
        "metadata": create.metadata,
        "background": create.background,
        "store": create.store,
        "user": create.user,
        "previous_response_id": create.previous_response_id,
        "text": shown(create.text),
    }
    return {name: value for name, value in asked.items() if value is not None}
