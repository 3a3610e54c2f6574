"""Log probabilities of tokens as a log carries them: compact in an entry, spelled out on the wire.  Pure.

An entry spells its tokens as JSON arrays joined by commas, ``["Par",-0.25,[["Par",-0.25],["The",-2.5]]]``;
a token that is no text by itself (part of a character) is a list of bytes.  A text with the logprobs of its
tokens travels as one piece of bytes, ``<text> LF <logprobs> LF``: neither half can hold a line feed, since
JSON escapes it.  Such pieces, and texts without logprobs, may be joined end to end and taken apart again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

_DIGITS = 6
"""Decimals of a logprob: more than two machines that compute the same model agree on."""
LEAST = -9999.0
"""Stands for minus infinity, which JSON does not know; the number is the OpenAI API's own."""

Spelled = str | tuple[int, ...]
"""A token: its text, or its bytes where they are no text by themselves."""


class Scored(msgspec.Struct, frozen=True, array_like=True):
    """A generated token and the likeliest ones at its place."""

    token: Spelled
    logprob: float
    top: tuple[tuple[Spelled, float], ...] = ()


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(tuple[Scored, ...])


def spelled(token: bytes) -> Spelled:
    """Return a token's text, or its bytes if they are none."""
    try:
        return token.decode()
    except UnicodeDecodeError:
        return tuple(token)


def rounded(logprob: float) -> float:
    """Return a logprob as it is logged."""
    return round(max(logprob, LEAST), _DIGITS)


def encode(tokens: Iterable[Scored]) -> str:
    """Spell tokens as an entry has them."""
    return _encoder.encode(tuple(tokens))[1:-1].decode()


def decode(logprobs: str | bytes) -> tuple[Scored, ...]:
    """Invert :func:`encode`.  Raises msgspec.DecodeError if it is something else."""
    raw = logprobs.encode() if isinstance(logprobs, str) else logprobs
    return _decoder.decode(b"[%b]" % raw)


def join(logprobs: Iterable[str]) -> str:
    """Join what several entries spell."""
    return ",".join(filter(None, logprobs))


def packed(text: bytes, logprobs: bytes) -> bytes:
    """Put a text, JSON-escaped, and the logprobs of its tokens into one piece."""
    return b"%b\n%b\n" % (text, logprobs)


def unpacked(pieces: bytes) -> tuple[bytes, bytes]:
    """Take joined pieces apart: all their text, all their logprobs."""
    halves = pieces.split(b"\n")
    return b"".join(halves[::2]), b",".join(filter(None, halves[1::2]))


def wire(logprobs: str | bytes) -> msgspec.Raw:
    """Spell them out as both APIs do: a JSON array of {token, logprob, bytes, top_logprobs}."""
    if not logprobs:
        return msgspec.Raw(b"[]")
    return msgspec.Raw(_encoder.encode([_spelled_out(token) for token in decode(logprobs)]))


def _spelled_out(scored: Scored) -> dict[str, object]:
    top = [_token(token, logprob) for token, logprob in scored.top]
    return _token(scored.token, scored.logprob) | {"top_logprobs": top}


def _token(token: Spelled, logprob: float) -> dict[str, object]:
    if isinstance(token, str):
        return {"token": token, "logprob": logprob, "bytes": list(token.encode())}
    return {"token": _shown(token), "logprob": logprob, "bytes": list(token)}


def _shown(token: Sequence[int]) -> str:
    r"""Show bytes that are no text as the OpenAI API does: ``bytes:\xe2\x80``."""
    return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token)
