"""What the echo engine says of a response however often it was disturbed: its rule is deterministic; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from shared.log import Kind, unescape
from tokenwire.audit.findings import Promise, Rules, Violation
from tokenwire.audit.history import History
from tokenwire.audit.transcript import Viewing

MARK = re.compile(r"\[([0-9a-f]{4}):(\d+)@([^\]\s]+)\] ")
"""A marked token: the end of its response's id, its position, and who wrote it."""


def unsigned(text: str) -> str:
    """Return the text without who wrote each token."""
    return MARK.sub(r"[\1:\2] ", text)


def undisturbed(history: History, rules: Rules) -> Iterator[Violation]:
    """Compare with what the engine's rule says: it is deterministic, however often it was disturbed."""
    if not rules.exact or not history.viewings:
        return
    promise = Promise.PAUSE if history.handed else Promise.SAME_TEXT
    ids = [token for entry in history.log or () for token in entry.ids]
    if ids != list(range(len(ids))):
        detail = f"{len(ids)} ids, the first wrong one at {_first_wrong(ids)}"
        yield Violation(promise, "not what an undisturbed run says", history.response_id, detail)
    if rules.mark:
        yield from _marks(history, promise, len(ids))
    else:
        expected, _ = spoken(history.viewings[0], len(ids))
        if history.text != expected:
            detail = f"{history.text[-60:]!r} instead of {expected[-60:]!r}"
            yield Violation(promise, "not what an undisturbed run says", history.response_id, detail)


def _first_wrong(ids: Sequence[int]) -> int:
    return next(n for n, token in enumerate(ids) if token != n)


def _marks(history: History, promise: Promise, count: int) -> Iterator[Violation]:
    """Find tokens that name another response, position or writer than their place in the log."""
    owners = {e.epoch: e.owner for e in history.log or () if e.kind in (Kind.STARTED, Kind.HANDED)}
    position = 0
    for entry in history.log or ():
        text = unescape(entry.text)
        marks = list(MARK.finditer(text))
        if "".join(mark[0] for mark in marks) != text:
            yield Violation(promise, "not what an undisturbed run says", history.response_id, text[:60])
        for tail, number, owner in (mark.groups() for mark in marks):
            if tail != history.response_id[-4:]:
                yield Violation(Promise.SAME_TEXT, "foreign token", history.response_id, f"of ..{tail}")
            if owner != owners.get(entry.epoch):
                detail = f"{owner} wrote {number} under the epoch of {owners.get(entry.epoch, 'nobody')}"
                yield Violation(Promise.NO_ZOMBIE, "zombie write", history.response_id, detail)
            if int(number) != position:
                detail = f"position {number} where {position} was due"
                yield Violation(promise, "not what an undisturbed run says", history.response_id, detail)
            position += 1
    if position != count:
        detail = f"{position} tokens of text for {count} ids"
        yield Violation(promise, "not what an undisturbed run says", history.response_id, detail)


def spoken(viewing: Viewing, tokens: int) -> tuple[str, bool]:
    """Return what the echo engine says in so many tokens, and whether a stop string ended it.

    Its rule: the prompt's words again and again, each with its white space, until a stop string begins.
    What may be the beginning of a stop string is held back until more is known or the end has come.
    """
    vocabulary = [w if w[-1].isspace() else w + " " for w in re.findall(r"\S+\s*", viewing.prompt)]
    text = "".join(vocabulary[n % len(vocabulary)] for n in range(tokens))
    found = [(at + len(stop), at) for stop in viewing.stop_strings if (at := text.find(stop)) >= 0]
    if found:
        return text[: min(found)[1]], True  # the one complete first
    if tokens >= viewing.max_tokens:
        return text, False
    return text[: len(text) - _held_back(text, viewing.stop_strings)], False


def _held_back(text: str, stop_strings: Sequence[str]) -> int:
    """Return how many characters at the end may begin a stop string."""
    longest = 0
    for stop in stop_strings:
        for size in range(min(len(stop) - 1, len(text)), longest, -1):
            if text.endswith(stop[:size]):
                longest = size
                break
    return longest
