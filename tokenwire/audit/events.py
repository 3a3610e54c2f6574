"""What goes over the wire between a client of the audit and a gateway, as far as it matters here; pure."""

from __future__ import annotations

import msgspec

from tokenwire.audit.asks import Ask
from tokenwire.audit.transcript import Ending


class Problem(msgspec.Struct):
    """What went wrong, on the wire."""

    code: str
    retry_after: float | None = None


class Part(msgspec.Struct):
    """A part of an output item."""

    text: str = ""


class Item(msgspec.Struct):
    """An output item."""

    content: list[Part] = []


class Usage(msgspec.Struct):
    """Tokens, as told."""

    input_tokens: int
    output_tokens: int


class Reason(msgspec.Struct):
    """Why a response is incomplete."""

    reason: str


class Response(msgspec.Struct):
    """The response object."""

    id: str
    status: str
    output: list[Item] = []
    usage: Usage | None = None
    error: Problem | None = None
    incomplete_details: Reason | None = None


class Event(msgspec.Struct):
    """An event of the wire, as far as it matters here."""

    type: str
    sequence_number: int = -1
    first_sequence_number: int = -1
    epoch: int = 0
    delta: str = ""
    text: str = ""
    status: int = 0
    response: Response | None = None
    error: Problem | None = None


def create(ask: Ask) -> dict[str, object]:
    """Return the message that asks for a response."""
    message: dict[str, object] = {
        "type": "response.create",
        "input": ask.prompt,
        "max_output_tokens": ask.max_tokens,
        "idempotency_key": ask.key,
        "temperature": ask.temperature,
    }
    if ask.sampling_seed is not None:
        message["seed"] = ask.sampling_seed
    if ask.stop_strings:
        message["stop"] = list(ask.stop_strings)
    return message


def ending_of(event: Event, response: Response) -> Ending:
    """Return what a terminal event says."""
    reason = response.error.code if response.error else ""
    if response.incomplete_details is not None:
        reason = response.incomplete_details.reason
    text = "".join(part.text for item in response.output for part in item.content)
    usage = response.usage
    return Ending(
        event.type,
        response.status,
        reason,
        text,
        usage.input_tokens if usage else None,
        usage.output_tokens if usage else None,
    )
