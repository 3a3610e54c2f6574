"""What it means that an upstream refused.  Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

import msgspec

_SHOWN = 200
"""Characters of an upstream's own words that are passed on."""

_CONTEXT = re.compile(
    r"context_length_exceeded|context[ _](length|size|window)|maximum context|exceed_context|max_new_tokens.*must be",
    re.IGNORECASE,
)
_WINDOW = re.compile(r"(?:context length (?:is|of)(?: only)?|must be <=) (\d+)")
_PROMPT = re.compile(r"(\d+) (?:input tokens|in the messages|tokens from the input|`?inputs`? tokens)")


class Kind(Enum):
    """What is to be done."""

    LATER = auto()  # busy or broken: ask another, or the same one after a pause
    ROOM = auto()  # fewer tokens would fit behind this prompt
    CONTEXT = auto()  # the prompt is too long
    FINAL = auto()  # asking again would not help


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refusal; ``sentence`` may be shown to anybody."""

    kind: Kind
    sentence: str
    seconds: float = 0.0
    """Pause that the upstream asks for; 0 if it does not say."""
    room: int = 0
    """Tokens that would fit."""


def refusal(status: int, headers: Mapping[str, str], body: bytes, secret: str) -> Refusal:
    """Judge an answer that is no stream; ``secret`` is never repeated."""
    if status in (408, 409, 425, 429) or status >= 500:
        pause = _seconds(headers.get("retry-after", ""))
        return Refusal(Kind.LATER, f"The upstream is busy or broken ({status}).", pause)
    if status in (401, 403):
        return Refusal(Kind.FINAL, f"The upstream does not accept this server's key ({status}).")
    if 200 <= status < 400:
        return Refusal(Kind.FINAL, f"The upstream does not stream: it answered {status} with something else.")
    words = _words(body)
    if _CONTEXT.search(words):
        return _too_long(words)
    said = words.replace(secret, "***") if secret else words
    said = re.sub(r"\b(sk|hf|key|token)[-_][\w-]{8,}", "***", said)[:_SHOWN]
    return Refusal(Kind.FINAL, f"The upstream refused the request ({status}): {said}".rstrip(": "))


def stream_refusal(error: object, secret: str) -> Refusal:
    """Judge an error that came as the first word of a stream: servers that begin before they look send one."""
    code = error.get("code") if isinstance(error, Mapping) else None
    body = msgspec.json.encode({"error": error})
    refused = (isinstance(error, str) and "validation" in error) or bool(_CONTEXT.search(_words(body)))
    status = code if isinstance(code, int) and 400 <= code < 600 else 400 if refused else 500
    return refusal(status, {}, body, secret)


def _too_long(words: str) -> Refusal:
    window, prompt = _WINDOW.search(words), _PROMPT.search(words)
    room = int(window[1]) - int(prompt[1]) if window and prompt else 0
    if room > 0:
        return Refusal(Kind.ROOM, "The answer asked for is longer than the model has room for.", room=room)
    known = f" It has {prompt[1]} tokens, the model takes {window[1]}." if window and prompt else ""
    return Refusal(Kind.CONTEXT, f"The prompt is longer than the model behind this name takes.{known}")


def _words(body: bytes) -> str:
    """Find the upstream's own words in an error body of any shape, as one line."""
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return ""  # a proxy's page: nothing in it is meant for a client
    code = ""
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and key in found:
            code = code or str(found.get("code") or "")
            found = found[key]
    said = " ".join(found.split()) if isinstance(found, str) else ""
    return f"{said} [{code}]" if _CONTEXT.search(code) else said


def _seconds(retry_after: str) -> float:
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        return 0.0  # a date: our own pause does
