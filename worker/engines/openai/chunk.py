"""What one chunk of an upstream's stream says, of a chat or of a plain completion.  Pure.

Servers differ in what they leave out or send as null, so nothing is taken for granted but JSON objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from shared.logprobs import Scored, Spelled, rounded, spelled

Chunk = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens so far, or of all."""

    prompt: int
    cached: int
    generated: int


def text(chunk: Chunk) -> str:
    """Return the piece of the answer."""
    choice = _choice(chunk)
    found = _object(choice, "delta").get("content") if "delta" in choice else choice.get("text")
    if isinstance(found, list):  # parts, as some services send it; those of other types are no answer
        return "".join(told for part in _objects(found) if isinstance(told := part.get("text"), str))
    return found if isinstance(found, str) else ""


def failed(chunk: Chunk) -> bool:
    """Say whether the chunk is an error; some servers send an empty one with every chunk."""
    return bool(chunk.get("error"))


def finish(chunk: Chunk) -> str:
    """Return why the answer ends with this chunk, or nothing."""
    reason = _choice(chunk).get("finish_reason")
    return reason if isinstance(reason, str) else ""


def usage(chunk: Chunk) -> Usage | None:
    """Return the usage, if the chunk has one."""
    found = chunk.get("usage")
    if not isinstance(found, Mapping):
        return None
    cached = _number(_object(found, "prompt_tokens_details"), "cached_tokens")
    return Usage(_number(found, "prompt_tokens"), cached, _number(found, "completion_tokens"))


def scores(chunk: Chunk) -> list[Scored]:
    """Return the logprobs of the chunk's tokens."""
    return [
        Scored(_spelled(token), _logprob(token), _likeliest(token))
        for token in _objects(_object(_choice(chunk), "logprobs").get("content"))
    ]


def _likeliest(token: Mapping[str, object]) -> tuple[tuple[Spelled, float], ...]:
    return tuple((_spelled(other), _logprob(other)) for other in _objects(token.get("top_logprobs")))


def _spelled(token: Mapping[str, object]) -> Spelled:
    """Return a token's bytes where they are told: its text may stand for what is no text."""
    raw = token.get("bytes")
    if isinstance(raw, list) and all(type(byte) is int and 0 <= byte < 256 for byte in raw):
        return spelled(bytes(raw))
    return str(token.get("token", ""))


def _logprob(token: Mapping[str, object]) -> float:
    value = token.get("logprob")
    return rounded(float(value)) if isinstance(value, int | float) else rounded(float("-inf"))


def _choice(chunk: Chunk) -> Mapping[str, object]:
    return next(_objects(chunk.get("choices")), {})


def _object(holder: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = holder.get(name)
    return found if isinstance(found, Mapping) else {}


def _objects(found: object) -> Iterator[Mapping[str, object]]:
    return (each for each in found if isinstance(each, Mapping)) if isinstance(found, list) else iter(())


def _number(holder: Mapping[str, object], name: str) -> int:
    value = holder.get(name)
    return value if type(value) is int and value > 0 else 0
