"""Trace context (W3C Trace Context, level 1), and spans as plain values; pure.

A response's context is made at the door, travels in its request, and stands in the log lines of all tiers.
Nothing here imports a tracing library: see :mod:`shared.otlp` for who exports spans.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

_HEADER = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")

Draw = Callable[[int], str]
"""Returns so many random bytes in hex, as ``secrets.token_hex``."""


@dataclass(frozen=True, slots=True)
class Context:
    """One span's place in a trace."""

    trace_id: str
    span_id: str
    sampled: bool = False

    @property
    def header(self) -> str:
        """The value of ``traceparent``."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"

    def child(self, span_id: str) -> Context:
        """Return the context of a span below this one."""
        return replace(self, span_id=span_id)


def parse(header: str | None) -> Context | None:
    """Read a ``traceparent``; one that is not well formed is as good as none (W3C, section 3.3)."""
    match = _HEADER.fullmatch((header or "").strip())
    if match is None or (match[4] and header is not None and header.strip().startswith("00")):
        return None
    return Context(match[1], match[2], sampled=bool(int(match[3], 16) & 1))


def trace_id_of(header: str) -> str:
    """Return the trace that a ``traceparent`` names, or nothing."""
    context = parse(header)
    return context.trace_id if context else ""


def begin(parent: Context | None, draw: Draw, *, sampled: bool) -> Context:
    """Make the context of a new span: below ``parent``, else in a trace of its own."""
    if parent is not None:
        return parent.child(draw(8))
    return Context(draw(16), draw(8), sampled)


def span_of_claim(context: Context, response_id: str, epoch: int) -> Context:
    """Return the context of the span of one claim.

    It follows from the log, so that whoever takes the response over can point at the span of the owner
    before, even if that one died without a word.
    """
    return context.child(hashlib.sha256(f"{response_id} {epoch}".encode()).hexdigest()[:16])


Attributes = Mapping[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class Span:
    """One finished span; times in Unix seconds."""

    name: str
    context: Context
    parent: Context | None
    began: float
    ended: float
    attributes: Attributes = field(default_factory=dict)
    links: tuple[Context, ...] = ()
    failed: str = ""
    """Why it failed, if it did."""


Record = Callable[[Span], None]
"""Takes a finished span; never waits."""


def untraced(span: Span) -> None:
    """Let a span go: nobody collects them."""
