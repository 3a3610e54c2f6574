"""The report: a row per promise with its evidence, the strikes, the delays, and what to do about a violation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from tokenwire.audit.evidence import NEEDED, Evidence, percentile
from tokenwire.audit.findings import Promise, Violation
from tokenwire.audit.schedule import Fault

KEPT, BROKEN, THIN = 0, 1, 2
"""Exit codes: every promise kept, one broken, too little evidence to say."""
_SHOWN = 10


@dataclass(slots=True)
class Outcome:
    """All that a run has found."""

    seed: int
    seconds: float
    clients: int
    command: str
    """What a person types to replay it."""
    responses: int = 0
    viewings: int = 0
    events: int = 0
    refusals: int = 0
    late_refusals: float = 0.0
    """95th percentile of the seconds from an ask to its refusal."""
    most_waiting: int = 0
    bound: int = 0
    hand_overs: int = 0
    dropped_live: int = 0
    skipped: int = 0
    """Strikes that found nobody to strike at."""
    needed: int = NEEDED
    """Running responses that a kind of kill must hit."""
    evidence: Evidence = field(default_factory=Evidence)
    violations: list[Violation] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def thin(self) -> list[str]:
        """Say what is not proved for want of evidence."""
        return self.evidence.thin(self.needed)

    @property
    def code(self) -> int:
        """Exit code."""
        if self.violations:
            return BROKEN
        return THIN if self.thin() or not self.responses else KEPT


def render(outcome: Outcome) -> str:
    """Return the whole report as text."""
    lines = [
        _headline(outcome),
        "",
        *_table(("promise", "evidence", "violations"), _promises(outcome)),
        "",
        *_table(("strike", "times", "running responses hit", "pause p50 / p95 / max, s"), _strikes(outcome)),
        "",
        *_delays(outcome.evidence),
        *(f"note: {remark}" for remark in outcome.remarks),
        *_verdict(outcome),
    ]
    return "\n".join(lines) + "\n"


def _headline(outcome: Outcome) -> str:
    seen = f"{outcome.responses} responses seen by {outcome.viewings} viewers in {outcome.events} events"
    return f"{seen}; {outcome.clients} clients, {outcome.seconds:.0f} s, seed {outcome.seed}"


def _promises(outcome: Outcome) -> list[tuple[str, str, str]]:
    counts = Counter(violation.promise for violation in outcome.violations)
    said = _evidence(outcome)
    return [(promise.value, said[promise], str(counts.get(promise, 0))) for promise in Promise]


def _evidence(outcome: Outcome) -> dict[Promise, str]:
    found = outcome.evidence
    zombies = sum(found.hits.get(fault, 0) for fault in (Fault.FREEZE_WORKER, Fault.HOLD_WORKER_LINK))
    stops = len(found.stop_delays) + len(found.troubled_stops)
    return {
        Promise.SAME_TEXT: f"{outcome.viewings} transcripts, {outcome.events} events, {found.resumes} resumes",
        Promise.ANY_GATEWAY: f"{found.elsewhere} resumes at another gateway",
        Promise.PAUSE: f"{outcome.hand_overs} hand-overs, {_count(found.pauses)} pauses with a slot free",
        Promise.NO_ZOMBIE: f"{zombies} responses of workers frozen or held up past their lease",
        Promise.ONE_ENDING: f"{outcome.responses} endings",
        Promise.STOP: f"{stops} stops, {found.stopped_queued} while queued; {len(found.orphans)} left for good",
        Promise.DOOR: f"{outcome.refusals} refusals, at most {outcome.most_waiting} waiting of {outcome.bound}",
        Promise.NEIGHBOURS: (
            f"{found.slow} slow readers, {found.merged} deltas merged; {found.poisons} poison prompts"
        ),
        Promise.DEPLOYS: f"{len(found.drain_exits)} drains, {found.restarts} sockets sent elsewhere (1012)",
        Promise.NOTHING_LEFT: "keys, queue, sockets, sequences at the end",
    }


def _count(pauses: dict[Fault, list[float]]) -> int:
    return sum(map(len, pauses.values()))


def _strikes(outcome: Outcome) -> list[tuple[str, str, str, str]]:
    found = outcome.evidence
    return [
        (
            fault.value,
            str(found.strikes[fault]),
            str(found.hits.get(fault, 0)),
            _three(found.pauses.get(fault, [])),
        )
        for fault in Fault
        if fault in found.strikes
    ]


def _delays(found: Evidence) -> list[str]:
    crowded = f"{len(found.crowded_pauses)} ({_three(found.crowded_pauses)} s)"
    troubled = f"{len(found.troubled_stops)} ({_three(found.troubled_stops)} s)"
    return [
        f"from a stop to its ending at the client: {_three(found.stop_delays, 3)} s",
        f"the same during a fault on its way: {troubled}",
        f"from that ending to the worker letting go: {_three(found.freed, 3)} s",
        f"deltas seen after a stop: {_three(found.after_stop, 0)}",
        f"pauses without a free slot, or during another fault: {crowded}",
        f"ran on after the last viewer had left: {_three(found.orphans)} s",
        f"a drain's exit: {_three(found.drain_exits)} s",
        *_losses(found),
        f"the machine held processes of the audit and of the fleet up for {found.stalled:.1f} s in all",
    ]


def _losses(found: Evidence) -> list[str]:
    if not any(fault.on_server for fault in found.strikes):
        return []
    return [
        f"viewers that were told that a server had lost what they had seen: {found.told_lost}",
        f"viewers that had seen an ending which a server lost then: {found.lost_endings}",
    ]


def _three(values: Sequence[float], digits: int = 2) -> str:
    if not values:
        return "-"
    return " / ".join(
        f"{each:.{digits}f}" for each in (percentile(values, 0.5), percentile(values, 0.95), max(values))
    )


def _verdict(outcome: Outcome) -> list[str]:
    lines = [""]
    if outcome.violations:
        lines += [
            f"VIOLATION {violation.promise.value}: {violation}" for violation in outcome.violations[:_SHOWN]
        ]
        more = len(outcome.violations) - _SHOWN
        lines += [f"... and {more} more"] if more > 0 else []
        lines += [f"replay the schedule with: {outcome.command}"]
    lines += [f"not enough evidence: {line}" for line in outcome.thin()]
    verdict = {KEPT: "every promise kept", BROKEN: "a promise was broken", THIN: "not enough evidence"}
    return [*lines, f"seed {outcome.seed}: {verdict[outcome.code]} ({len(outcome.violations)} violations)"]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
    ruled = [head, ["-" * width for width in widths], *rows]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in ruled
    ]


def as_json(outcome: Outcome) -> bytes:
    """Return the report for a program."""
    found = msgspec.to_builtins(outcome)
    return msgspec.json.format(
        msgspec.json.encode({**found, "code": outcome.code, "thin": outcome.thin()}), indent=2
    )
