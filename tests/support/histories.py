"""Hand-made histories for the audit's checker: a log, and a viewer that saw all of it."""

from __future__ import annotations

from gateway_logs import RESPONSE_ID, LogWriter

from shared.log import CLOSING, Kind, Reason, unescape
from tokenwire.audit.history import History
from tokenwire.audit.transcript import (
    CLOSING_TYPES,
    DELTA,
    PROLOGUE_TYPES,
    TEXT_DONE,
    Ending,
    Seen,
    Stay,
    Viewing,
)

TAIL = RESPONSE_ID[-4:]


def mark(position: int, owner: str = "w", tail: str = TAIL) -> str:
    return f"[{tail}:{position}@{owner}] "


def log_of(tokens: int, handed_after: int | None = None, reason: Reason = Reason.LENGTH) -> LogWriter:
    """A log of marked tokens, one entry each; handed over to another worker of the same name perhaps."""
    log = LogWriter()
    log.claim()
    for n in range(tokens):
        if n == handed_after:
            log.claim()
        log.delta(mark(n), (n,), prompt_tokens=2 if n == 0 else 0)
    log.end(reason)
    return log


def seen_of(log: LogWriter, at: float = 100.0) -> list[Seen]:
    """What a viewer sees of a log that nothing disturbs."""
    seen: list[Seen] = []

    def see(number: int, epoch: int, kind: str, text: str = "") -> None:
        seen.append(Seen(number, number, epoch, kind, text, at + number / 50, 0))

    for entry in log.entries:
        match entry.kind:
            case Kind.QUEUED:
                see(0, 0, PROLOGUE_TYPES[0])
            case Kind.STARTED:
                for number in (1, 2, 3):
                    see(number, entry.epoch, PROLOGUE_TYPES[number])
            case Kind.DELTA:
                see(entry.first, entry.epoch, DELTA, unescape(entry.text))
            case Kind.ENDED:
                kinds = (
                    (*CLOSING_TYPES, "response.incomplete")
                    if entry.covers == CLOSING
                    else ("response.incomplete",)
                )
                for number, kind in enumerate(kinds, entry.first):
                    see(number, entry.epoch, kind, text_of(log) if kind == TEXT_DONE else "")
            case _:
                pass
    return seen


def text_of(log: LogWriter) -> str:
    return unescape("".join(entry.text for entry in log.entries))


def viewing_of(log: LogWriter, **changes) -> Viewing:
    tokens = sum(len(entry.ids) for entry in log.entries)
    prompt = next((entry.prompt_tokens for entry in log.entries if entry.prompt_tokens), 0)
    fields = {
        "key": "1.0.0",
        "viewer": 0,
        "doing": "plain",
        "prompt": "Audit 1.0.0",
        "max_tokens": tokens,
        "asked_at": 99.0,
        "response_id": RESPONSE_ID,
        "seen": seen_of(log),
        "stays": [Stay(0, 99.0, -2, 200.0)],
        "ending": Ending(
            "response.incomplete", "incomplete", "max_output_tokens", text_of(log), prompt, tokens
        ),
        "over": "ended",
        "over_at": 200.0,
    }
    return Viewing(**(fields | changes))


def history_of(log: LogWriter, *viewings: Viewing) -> History:
    return History(RESPONSE_ID, viewings or (viewing_of(log),), log.entries)
