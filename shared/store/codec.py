"""How entries are spelled in a stream, and times to the scripts: short field names, numbers as decimal text."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from shared.log import CLOSING, PROLOGUE, Entry, Kind, Reason, Status
from shared.request import Request, decode
from shared.store.contract import Append

_COVERS = {Kind.QUEUED: 1, Kind.STARTED: PROLOGUE - 1, Kind.DELTA: 1, Kind.HANDED: 0, Kind.ENDED: CLOSING}


class Unreadable(Exception):
    """What is stored means nothing to this version: a newer one wrote it, or it is damaged."""


def decode_request(raw: bytes | str) -> Request:
    """Read a stored request.  Raises Unreadable."""
    try:
        return decode(raw)
    except (msgspec.MsgspecError, ValueError) as error:  # bad UTF-8 is a ValueError
        where = str(error).rpartition(" - at ")[2]  # what stands before it has a value in it
        raise Unreadable(f"the request: {where}") from error


def decode_status(raw: object) -> Status:
    """Read a status.  Raises Unreadable."""
    try:
        return Status(text_of(raw))
    except ValueError as error:
        raise Unreadable(f"the status: {error}") from error


def decode_log(raw: Sequence[Sequence[object]], before: int) -> tuple[tuple[Entry, ...], str]:
    """Read entries, in order, up to the first that is unreadable; say what is wrong with it, or nothing.

    ``before`` counts the wire events that precede them.  What covers no event says nothing to a reader, so an
    unreadable entry of that kind is passed over: ids alone tell how many events an entry covers (ADR 0012).
    """
    entries: list[Entry] = []
    at = before
    for each in raw:
        try:
            entries.append(decode_entry(each))
        except Unreadable as problem:
            if _upto(each) > at:
                return tuple(entries), str(problem)
        at = _upto(each)
    return tuple(entries), ""


def decode_entry(raw: Sequence[object]) -> Entry:
    """Turn ``[id, [field, value, ...]]`` as the server replies it into an Entry.  Raises Unreadable."""
    try:
        return _entry(raw)
    except (KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"entry {text_of(raw[0])}: {error}") from error


def _upto(raw: Sequence[object]) -> int:
    return int(text_of(raw[0]).partition("-")[2])


def _entry(raw: Sequence[object]) -> Entry:
    raw_id, raw_fields = raw
    epoch, _, upto = text_of(raw_id).partition("-")
    fields = _pairs(raw_fields)
    kind = Kind(fields["k"])
    prompt, _, cached = fields.get("p", "0 0").partition(" ")
    return Entry(
        epoch=int(epoch),
        upto=int(upto),
        kind=kind,
        covers=int(fields["n"]) if "n" in fields else _COVERS[kind],
        at=int(fields.get("at", 0)),
        text=fields.get("t", ""),
        ids=decode_ids(fields.get("i", "")),
        prompt_tokens=int(prompt),
        cached_tokens=int(cached),
        reason=Reason(fields["r"]) if "r" in fields else None,
        message=fields.get("m", ""),
        owner=fields.get("w", ""),
        marked=fields.get("x", ""),
        logprobs=fields.get("l", ""),
    )


def append_arguments(append: Append) -> tuple[str, ...]:
    """Return one sequence's ARGV of ``append.lua``."""
    usage = encode_usage(append.prompt_tokens, append.cached_tokens)
    return (
        f"{append.epoch}-{append.upto}",
        f"{append.upto} 0 l {append.epoch} " if append.logprobs else f"{append.upto} 1 d {append.epoch} ",
        append.text,
        encode_ids(append.ids),
        f"{usage}\n{append.logprobs}\n" if append.logprobs else usage,
    )


def encode_ids(ids: Sequence[int]) -> str:
    """Spell token ids."""
    return ",".join(map(str, ids))


def encode_usage(prompt_tokens: int, cached_tokens: int) -> str:
    """Spell the prompt's usage; empty if it is told elsewhere."""
    return f"{prompt_tokens} {cached_tokens}" if prompt_tokens else ""


def decode_ids(text: str) -> tuple[int, ...]:
    """Invert :func:`encode_ids`."""
    return tuple(map(int, text.split(","))) if text else ()


def milliseconds(seconds: float) -> int:
    """Return a time as the scripts take it."""
    return round(seconds * 1000)


def text_of(raw: object) -> str:
    """Return a reply that must be text (or a number) as text."""
    return raw.decode() if isinstance(raw, bytes) else str(raw)


def _pairs(raw: object) -> dict[str, str]:
    if not isinstance(raw, list):
        raise TypeError(f"fields of an entry, not {type(raw).__name__}")
    texts = [text_of(item) for item in raw]
    return dict(zip(texts[::2], texts[1::2], strict=True))
