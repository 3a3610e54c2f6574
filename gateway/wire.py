"""Client messages: bytes in, commands out, each checked in shape and range before anybody acts on it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, assert_never

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.completions import Asked, Chat, Completion, from_chat, from_completion
from gateway.create import Create, EventId, check
from gateway.errors import Code, RefusedError, WireError
from shared.log import partition_of

T = TypeVar("T", bound=msgspec.Struct)

MAX_DEPTH = 32
"""Nesting of JSON; what we read ourselves needs 6."""

_STREAM_ID = re.compile(r"[A-Za-z0-9_.-]{1,256}")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_AT = re.compile(r" - at `(?:key in )?\$\.?(.*)`$")


class Cancel(msgspec.Struct, frozen=True):
    """``response.cancel``: end a response; without an id the one that runs on the lane."""

    response_id: str | None = None
    stream_id: str | None = None
    event_id: EventId | None = None


class Resume(msgspec.Struct, frozen=True):
    """``response.resume``: replay what comes after a number, then go on live."""

    response_id: str
    starting_after: Annotated[int, Meta(ge=-1, le=2**53)] = -1
    epoch: Annotated[int, Meta(ge=0, le=2**53)] | None = None
    """Epoch of the last event seen, which makes the check of the cursor exact."""
    stream_id: str | None = None
    event_id: EventId | None = None


class Replay(msgspec.Struct, frozen=True):
    """Query of ``GET /v1/responses/{id}``."""

    stream: bool = False
    starting_after: Annotated[int, Meta(ge=-1, le=2**53)] | UnsetType = UNSET


Command = Create | Cancel | Resume


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that is no command: what to answer, and on which lane as far as it could be read."""

    error: WireError
    stream_id: str | None = None


class _Envelope(msgspec.Struct):
    type: str
    stream_id: object = None
    event_id: object = None


_TYPES: Mapping[str, Any] = {
    "response.create": Create,
    "response.cancel": Cancel,
    "response.resume": Resume,
}


def parse(raw: str | bytes) -> Command | Rejected:
    """Read one text frame."""
    stream_id: str | None = None
    event_id: str | None = None
    try:
        data = _bounded(raw)
        envelope = _decode(data, _Envelope)
        event_id = _text_or_none(envelope.event_id)
        stream_id = _lane(envelope.stream_id)
        return _checked(_decode(data, _kind(envelope.type)), data)
    except RefusedError as refusal:
        return Rejected(refusal.error.about(event_id), stream_id)


def parse_create(raw: bytes) -> Asked:
    """Read the body of ``POST /v1/responses``.  Raises RefusedError."""
    create: Create = _decode(_bounded(raw), Create)
    check(create, _fields(raw))
    return Asked(create)


def parse_chat(raw: bytes) -> Asked:
    """Read the body of ``POST /v1/chat/completions``.  Raises RefusedError."""
    return from_chat(_decode(_bounded(raw), Chat), _fields(raw))


def parse_completion(raw: bytes) -> Asked:
    """Read the body of ``POST /v1/completions``.  Raises RefusedError."""
    return from_completion(_decode(_bounded(raw), Completion), _fields(raw))


def parse_query(query: Sequence[tuple[str, str]], kind: type[T]) -> T:
    """Read the fields of a query; unknown ones are passed over.  Raises RefusedError."""
    names = [name for name, _ in query]
    for field in msgspec.structs.fields(kind):
        if names.count(field.encode_name) > 1:
            raise RefusedError(WireError(Code.INVALID_REQUEST, "It may stand there once.", field.encode_name))
    try:
        return msgspec.convert(dict(query), kind, strict=False)
    except msgspec.ValidationError as problem:
        raise RefusedError(_invalid(problem)) from None


class TicketAsked(msgspec.Struct, frozen=True):
    """Body of ``POST /v1/ws-tickets``; it may be empty."""

    origin: Annotated[str, Meta(max_length=256)] | None = None
    """Page that may use the ticket, where a server asks for it; a page's own Origin header stands above it."""


def parse_ticket(raw: bytes) -> TicketAsked:
    """Read the body of ``POST /v1/ws-tickets``.  Raises RefusedError."""
    asked: TicketAsked = _decode(_bounded(raw), TicketAsked) if raw.strip() else TicketAsked()
    return asked


def cursors(query: Mapping[str, list[str]]) -> list[Resume] | WireError:
    """Read the handshake's query: response_id, starting_after, stream_id and epoch as aligned lists."""
    ids = query.get("response_id", [])
    others = {name: query.get(name, []) for name in ("starting_after", "stream_id", "epoch")}
    resumes: list[Resume] = []
    for name, values in others.items():
        if values and len(values) != len(ids):
            return WireError(Code.INVALID_REQUEST, f"There must be as many {name} as response_id.", name)
    for at, response_id in enumerate(ids):
        fields = {name: values[at] for name, values in others.items() if values and values[at]}
        try:
            resume = msgspec.convert({"response_id": response_id, **fields}, Resume, strict=False)
            _lane(resume.stream_id)
            _known_id(resume.response_id)
        except msgspec.ValidationError as problem:
            return _invalid(problem)
        except RefusedError as refusal:
            return refusal.error
        resumes.append(resume)
    return resumes


def _bounded(raw: str | bytes) -> bytes:
    """Return the message as bytes.  Refuses nesting that would cost a deep stack."""
    data = raw.encode() if isinstance(raw, str) else raw
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH and _depth(data) > MAX_DEPTH:
        raise RefusedError(WireError(Code.INVALID_JSON, f"JSON nested deeper than {MAX_DEPTH} is not read."))
    return data


def _depth(data: bytes) -> int:
    deepest = depth = 0
    for byte in _STRING.sub(b"", data):
        if byte in b"{[":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"}]":
            depth -= 1
    return deepest


def _decode(data: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as problem:
        raise RefusedError(_invalid(problem)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RefusedError(WireError(Code.INVALID_JSON)) from None


def _fields(data: bytes) -> dict[str, object]:
    """Return all fields as they were sent; one that no type has read may still be unreadable."""
    fields: dict[str, object] = _decode(data, dict[str, Any])
    return fields


def _kind(name: str) -> Any:
    if name not in _TYPES:
        raise RefusedError(WireError(Code.UNSUPPORTED_EVENT, param="type"))
    return _TYPES[name]


def _invalid(problem: msgspec.ValidationError) -> WireError:
    """Turn msgspec's sentence into ours: the path goes into ``param``."""
    sentence = str(problem)
    at = _AT.search(sentence)
    if at is None and sentence.startswith("Expected `object`"):
        return WireError(Code.INVALID_JSON)
    missing = re.search(r"missing required field `(\w+)`", sentence)
    path = at[1] if at and not at[1].startswith("[...]") else ""  # which field it was is not told
    if missing:
        path = f"{path}.{missing[1]}".lstrip(".")
    return WireError(Code.INVALID_REQUEST, _AT.sub("", sentence) + ".", path or None)


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and len(value) <= 256 else None


def _lane(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, str) and _STREAM_ID.fullmatch(value):
        return value
    raise RefusedError(WireError(Code.INVALID_STREAM_ID, param="stream_id"))


def _known_id(response_id: str | None) -> None:
    """Refuse what cannot be a response id, before it becomes part of a key."""
    if response_id is None:
        return
    if not is_response_id(response_id):
        raise RefusedError(WireError(Code.RESPONSE_NOT_FOUND, param="response_id"))


def is_response_id(text: str) -> bool:
    """Say whether ``text`` has the form of a response id."""
    try:
        partition_of(text)
    except ValueError:
        return False
    return True


def _checked(command: Command, data: bytes) -> Command:
    """Return the command, or refuse what its types cannot say."""
    match command:
        case Create():
            check(command, _fields(data))
        case Cancel() | Resume():
            _known_id(command.response_id)
        case _:
            assert_never(command)
    return command
