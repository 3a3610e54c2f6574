"""The spans of one claim: waiting, prefill and decode, below the asker's context."""

from __future__ import annotations

import time

from shared.log import Kind
from shared.store.contract import Claim
from shared.trace import Attributes, Context, Record, Span, parse, span_of_claim


def record_claim(  # noqa: PLR0913, PLR0917 - the moments of a claim
    record: Record, claim: Claim, seconds: float, first: float | None, status: str, tokens: int
) -> None:
    """Record the spans of a claim that is over.

    ``seconds`` ago it was made, ``first`` seconds ago its first delta was logged.
    """
    asked = parse(claim.request.traceparent)
    if asked is None or not asked.sampled:
        return
    now = time.time()
    began, moved = now - seconds, now - (seconds if first is None else first)
    told: Attributes = {"tokenwire.response_id": claim.response_id, "tokenwire.epoch": claim.epoch}
    mine = span_of_claim(asked, claim.response_id, claim.epoch)
    owners = _owners_before(claim, asked)
    if not owners:
        queued = _child(mine, "queue")
        record(Span("queue", queued, asked, began - claim.queued_ms / 1000, began, told))
    whole = {**told, "tokenwire.status": status, "tokenwire.generated_tokens": tokens}
    failed = status if status == "server_error" else ""
    record(Span("compute", mine, asked, began, now, whole, owners[-1:], failed))
    record(Span("prefill", _child(mine, "prefill"), mine, began, moved if first is not None else now, told))
    if first is not None:
        record(Span("decode", _child(mine, "decode"), mine, moved, now, told))


def _owners_before(claim: Claim, asked: Context) -> tuple[Context, ...]:
    """Return the spans of the claims before this one, which may never have been sent."""
    claims = [entry for entry in claim.entries if entry.kind in (Kind.STARTED, Kind.HANDED)]
    return tuple(span_of_claim(asked, claim.response_id, entry.epoch) for entry in claims[:-1])


def _child(context: Context, name: str) -> Context:
    return span_of_claim(context, f"{context.span_id} {name}", 0)
