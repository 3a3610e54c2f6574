"""One response's history against the promises: what its viewers saw, its log, an undisturbed run; pure."""

from __future__ import annotations

from collections.abc import Iterator

from shared.log import PROLOGUE, STATUS_OF, Entry, Kind, Reason, Status, unescape
from tokenwire.audit.asks import Doing
from tokenwire.audit.findings import Promise, Rules, Violation
from tokenwire.audit.history import History, saw_lost_ending, told_lost
from tokenwire.audit.transcript import DELTA, PROLOGUE_TYPES, TEXT_DONE, Seen, Viewing
from tokenwire.audit.undisturbed import MARK, undisturbed, unsigned

_TERMINAL_OF = {
    Status.COMPLETED: "response.completed",
    Status.INCOMPLETE: "response.incomplete",
    Status.CANCELLED: "response.incomplete",
    Status.FAILED: "response.failed",
}


def check(history: History, rules: Rules) -> list[Violation]:
    """Return every promise that this response's history breaks."""
    found = [
        violation
        for viewing in history.viewings
        for violation in (
            *_order(history, viewing),
            *_resumes(history, viewing, rules),
            *_end_seen(history, viewing),
        )
    ]
    found += _endings_agree(history, rules)
    found += _accepted_once(history)
    if history.log is not None:
        if rules.lossy and not history.log and all(map(told_lost, history.viewings)):
            return found  # nothing is left, and everybody knows
        found += _log_shape(history)
        found += _compared(history, rules)
        found += undisturbed(history, rules)
        found += _ending_right(history, rules)
    return found


# ---- what one viewer saw ----


def _order(history: History, viewing: Viewing) -> Iterator[Violation]:
    """Find numbers that are not contiguous over all of a viewing's sockets; a merged event names its first."""
    promise = Promise.NEIGHBOURS if viewing.doing == Doing.SLOW else Promise.SAME_TEXT
    expected = 0
    known: set[int] = set()
    for seen in viewing.seen:
        kind = ""
        if seen.number in known or seen.first in known:
            kind = "doubled"
        elif seen.first < expected:
            kind = "reordered"
        elif seen.first > expected:
            kind = "lost"
        if kind:
            detail = f"viewer {viewing.viewer}: {seen.first}..{seen.number} came where {expected} was due"
            yield Violation(promise, kind, history.response_id, detail)
        if seen.first > seen.number:
            yield Violation(promise, "lost", history.response_id, f"{seen.first} merged into {seen.number}")
        known.update(range(seen.first, seen.number + 1))
        expected = max(expected, seen.number + 1)
    yield from _types(history, viewing)


def _types(history: History, viewing: Viewing) -> Iterator[Violation]:
    """Find events of a type that their number cannot have."""
    for seen in viewing.seen:
        if seen.number < PROLOGUE:
            right = seen.type == PROLOGUE_TYPES[seen.number] or seen.type.startswith("response.incomplete")
            right = right or seen.type == "response.failed"
        else:
            right = seen.type not in PROLOGUE_TYPES
        if not right:
            detail = f"viewer {viewing.viewer}: {seen.type} is number {seen.number}"
            yield Violation(Promise.SAME_TEXT, "reordered", history.response_id, detail)


def _resumes(history: History, viewing: Viewing, rules: Rules) -> Iterator[Violation]:
    for code in viewing.errors:
        if rules.lossy and told_lost(viewing):
            yield from _own_words(history, viewing)
        elif code in ("resume_unavailable", "response_not_found", "starting_after_out_of_range"):
            detail = f"viewer {viewing.viewer}: {code}"
            yield Violation(Promise.ANY_GATEWAY, "resume refused", history.response_id, detail)
        elif code != "response_not_active":
            yield Violation(Promise.ONE_ENDING, "error on a running response", history.response_id, code)


def _own_words(history: History, viewing: Viewing) -> Iterator[Violation]:
    """Find words that one who was told of a loss should never have seen: not those that follow on its own."""
    text = "".join(seen.text for seen in viewing.seen if seen.type == DELTA)
    marks = [(mark[1], int(mark[2])) for mark in MARK.finditer(text)]
    right = [(history.response_id[-4:], n) for n in range(len(marks))]
    if marks and marks != right:
        wrong = next(mark for mark, due in zip(marks, right, strict=True) if mark != due)
        detail = f"viewer {viewing.viewer}: saw {wrong} and was told of a loss only then"
        yield Violation(Promise.SAME_TEXT, "other words under old numbers", history.response_id, detail)


def _end_seen(history: History, viewing: Viewing) -> Iterator[Violation]:
    """Find viewers that stayed and did not see exactly one ending."""
    terminals = [seen for seen in viewing.seen if seen.type in _TERMINAL_OF.values()]
    who = f"viewer {viewing.viewer} ({viewing.doing})"
    if len(terminals) > 1:
        yield Violation(Promise.ONE_ENDING, "two endings", history.response_id, who)
    if not terminals and viewing.over == "unfinished":
        last = viewing.seen[-1].number if viewing.seen else -1
        detail = f"{who} had seen {last}; the log {'has' if history.ending else 'has not'} ended"
        yield Violation(Promise.ONE_ENDING, "no ending", history.response_id, detail)
    if terminals and viewing.seen[-1] is not terminals[0] and len(terminals) == 1:
        yield Violation(Promise.ONE_ENDING, "events after the ending", history.response_id, who)
    if viewing.ending is not None and None in (viewing.ending.input_tokens, viewing.ending.output_tokens):
        yield Violation(Promise.ONE_ENDING, "no usage", history.response_id, who)
    done = [seen.text for seen in viewing.seen if seen.type == TEXT_DONE]
    joined = "".join(seen.text for seen in viewing.seen if seen.type == DELTA)
    if done and done[0] != joined:
        yield Violation(Promise.SAME_TEXT, "text is not its deltas", history.response_id, who)
    if viewing.ending is not None and viewing.ending.text != joined:
        yield Violation(Promise.SAME_TEXT, "text is not its deltas", history.response_id, f"{who}: the item")


def _endings_agree(history: History, rules: Rules) -> Iterator[Violation]:
    endings = [
        viewing.ending
        for viewing in history.viewings
        if viewing.ending is not None and not (rules.lossy and saw_lost_ending(history, viewing))
    ]
    if any(ending != endings[0] for ending in endings[1:]):
        yield Violation(Promise.ONE_ENDING, "viewers saw different endings", history.response_id)


def _accepted_once(history: History) -> Iterator[Violation]:
    keys = {viewing.key for viewing in history.viewings}
    if len(keys) > 1:
        detail = f"asked for as {' and '.join(sorted(keys))}"
        yield Violation(Promise.SAME_TEXT, "foreign response", history.response_id, detail)


# ---- the log itself ----


def _log_shape(history: History) -> Iterator[Violation]:
    """Find numbers that are not covered once, epochs that fall, and what follows the ending."""
    log = history.log or ()
    if not log:
        yield Violation(Promise.ONE_ENDING, "log lost", history.response_id)
        return
    at, epoch = 0, 0
    for entry in log:
        if entry.first != at:
            detail = f"{entry.kind} {entry.epoch}-{entry.upto} covers {entry.first}.. where {at} was due"
            kind = "position lost from the log" if entry.first > at else "position doubled in the log"
            yield Violation(Promise.NO_ZOMBIE, kind, history.response_id, detail)
        claims = entry.kind in (Kind.STARTED, Kind.HANDED, Kind.ENDED)
        if entry.epoch < epoch or (entry.epoch > epoch and not claims):
            detail = f"{entry.epoch}-{entry.upto} follows epoch {epoch}"
            yield Violation(Promise.NO_ZOMBIE, "entry under a foreign epoch", history.response_id, detail)
        at, epoch = entry.upto, max(epoch, entry.epoch)
    endings = [n for n, entry in enumerate(log) if entry.kind is Kind.ENDED]
    if len(endings) > 1:
        yield Violation(Promise.ONE_ENDING, "two endings", history.response_id, "in the log")
    if not endings:
        yield Violation(Promise.ONE_ENDING, "no ending", history.response_id, "in the log")
    elif endings[0] != len(log) - 1:
        yield Violation(Promise.STOP, "tokens after the ending", history.response_id, "in the log")


def _compared(history: History, rules: Rules) -> Iterator[Violation]:
    """Find events that say something else than the log under their numbers."""
    by_number = {entry.first: entry for entry in history.log or () if entry.covers}
    for viewing in history.viewings:
        if rules.lossy and told_lost(viewing):
            continue
        if rules.lossy and saw_lost_ending(history, viewing):
            yield from _same_words(history, viewing)
            continue
        for seen in viewing.seen:
            detail = _difference(by_number, seen)
            if detail:
                who = f"viewer {viewing.viewer}: {detail}"
                yield Violation(Promise.SAME_TEXT, "text is not the log's", history.response_id, who)
                break


def _same_words(history: History, viewing: Viewing) -> Iterator[Violation]:
    """Find other words in a second ending: who wrote them may differ, and where it ended."""
    first = unsigned("".join(seen.text for seen in viewing.seen if seen.type == DELTA))
    second = unsigned(history.text)
    if not (first.startswith(second) or second.startswith(first)):
        detail = f"viewer {viewing.viewer}: its ending was lost, and the log says other words now"
        yield Violation(Promise.SAME_TEXT, "text is not the log's", history.response_id, detail)


def _difference(log: dict[int, Entry], seen: Seen) -> str:
    if seen.type != DELTA:
        if seen.type == TEXT_DONE and (seen.number not in log or log[seen.number].kind is not Kind.ENDED):
            return f"{seen.number} ends what the log does not end there"
        return ""
    entries = [log.get(number) for number in range(seen.first, seen.number + 1)]
    if any(entry is None or entry.kind is not Kind.DELTA for entry in entries):
        return f"{seen.first}..{seen.number} are no deltas in the log"
    text = unescape("".join(entry.text for entry in entries if entry is not None))
    if text != seen.text:
        return f"{seen.first}..{seen.number} is {seen.text[:40]!r}, the log has {text[:40]!r}"
    last = entries[-1]
    if last is not None and last.epoch != seen.epoch:
        return f"{seen.number} came under epoch {seen.epoch}, the log has it under {last.epoch}"
    return ""


# ---- the ending ----


def _ending_right(history: History, rules: Rules) -> Iterator[Violation]:
    ending = history.ending
    if ending is None or ending.reason is None:
        return
    ids = sum(len(entry.ids) for entry in history.log or ())
    prompt = next((entry.prompt_tokens for entry in history.log or () if entry.prompt_tokens), 0)
    for viewing in history.viewings:
        told = viewing.ending
        if told is None or (rules.lossy and saw_lost_ending(history, viewing)):
            continue
        if (told.input_tokens, told.output_tokens) != (prompt, ids):
            detail = f"told {told.input_tokens}+{told.output_tokens}, the log has {prompt}+{ids}"
            yield Violation(Promise.ONE_ENDING, "usage is not the log's", history.response_id, detail)
        if told.type != _TERMINAL_OF[STATUS_OF[ending.reason]]:
            yield Violation(Promise.ONE_ENDING, "ending is not the log's", history.response_id, told.type)
    if rules.full and ending.reason is Reason.ERROR and ending.message.startswith("storage_full"):
        return
    yield from _reason(history, ending.reason, ids)


def _reason(history: History, reason: Reason, ids: int) -> Iterator[Violation]:
    """Find endings without a cause."""
    asker = history.viewings[0] if history.viewings else None
    if asker is None:
        return
    poisoned = any(viewing.doing == Doing.POISON for viewing in history.viewings)
    stopped = any(stop.said for viewing in history.viewings for stop in viewing.stops)
    match reason:
        case Reason.LENGTH if ids != asker.max_tokens:
            detail = f"{ids} of {asker.max_tokens} tokens"
            yield Violation(Promise.SAME_TEXT, "ended too early", history.response_id, detail)
        case Reason.CANCELLED if not stopped:
            yield Violation(Promise.STOP, "cancelled by nobody", history.response_id)
        case Reason.WORKER_LOST if not poisoned:
            yield Violation(Promise.NEIGHBOURS, "failed with its neighbour's poison", history.response_id)
        case Reason.LENGTH | Reason.CANCELLED | Reason.LEFT | Reason.STOP | Reason.WORKER_LOST:
            pass
        case _:
            yield Violation(Promise.ONE_ENDING, f"ended by {reason}", history.response_id)
    # Its asker may have been away for longer than it is kept; whether it was is weighed with the strikes.
    if poisoned and reason not in (Reason.WORKER_LOST, Reason.LEFT):
        yield Violation(Promise.NEIGHBOURS, f"poison ended by {reason}", history.response_id)
