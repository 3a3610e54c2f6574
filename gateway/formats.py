"""The form that an answer is asked in: plain text, JSON, or JSON of a schema; pure.

The two APIs write it differently and mean the same; a request carries it as one text, the JSON schema.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.errors import Code, RefusedError, WireError
from shared.request import ANY_OBJECT, MOST_GRAMMAR

TEXT, JSON_OBJECT, JSON_SCHEMA = "text", "json_object", "json_schema"
_KINDS = (TEXT, JSON_OBJECT, JSON_SCHEMA)

Kind = Annotated[str, Meta(extra_json_schema={"enum": [*_KINDS]})]
"""Refused with a sentence of our own, hence a text here."""
Name = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")]
Description = Annotated[str, Meta(max_length=1024)]


class Format(msgspec.Struct, frozen=True, omit_defaults=True):
    """``text.format``: ``name``, ``description`` and ``strict`` are shown again; every schema is kept to."""

    type: Kind
    name: Name | None = None
    description: Description | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class Text(msgspec.Struct, frozen=True):
    """``text``, but for its verbosity, which has one value."""

    format: Format | None = None


class NamedSchema(msgspec.Struct, frozen=True):
    """``json_schema`` of a chat's ``response_format``."""

    name: Name | None = None
    description: Description | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct, frozen=True):
    """``response_format`` of a chat."""

    type: Kind
    json_schema: NamedSchema | None = None


def of_chat(asked: ResponseFormat | None) -> Text | None:
    """Return what a chat asks for in the words of a create.  Raises RefusedError in those of a chat."""
    if asked is None:
        return None
    named = (asked.type == JSON_SCHEMA and asked.json_schema) or NamedSchema()
    form = Format(asked.type, named.name, named.description, named.schema, named.strict)
    check_format(form, "response_format", "json_schema.schema")
    return Text(form)


def check_format(asked: Format, path: str, schema: str = "schema") -> None:
    """Refuse what the types cannot; ``path`` is where it stands, and its schema under it.  Raises RefusedError."""
    if asked.type not in _KINDS:
        sentence = f"The format must be one of {', '.join(_KINDS)}."
        raise RefusedError(WireError(Code.UNSUPPORTED_PARAMETER, sentence, f"{path}.type"))
    if asked.type == JSON_SCHEMA and asked.schema is None:
        sentence = "An answer of the format json_schema needs a schema, an object."
        raise RefusedError(WireError(Code.INVALID_REQUEST, sentence, f"{path}.{schema}"))
    if len(grammar_of(asked).encode()) > MOST_GRAMMAR:
        sentence = f"The schema may have {MOST_GRAMMAR} bytes."
        raise RefusedError(WireError(Code.INVALID_REQUEST, sentence, f"{path}.{schema}"))


def grammar_of(asked: Format | None) -> str:
    """Return the JSON schema that the answer keeps to; empty if it is plain text."""
    if asked is None or asked.type == TEXT:
        return ""
    return ANY_OBJECT if asked.type == JSON_OBJECT else msgspec.json.encode(asked.schema).decode()


def shown(asked: Text | None) -> dict[str, object] | None:
    """Return ``text`` as the response object shows it again; nothing if the answer is plain text."""
    form = asked.format if asked else None
    return {"format": msgspec.to_builtins(form)} if form and form.type != TEXT else None
