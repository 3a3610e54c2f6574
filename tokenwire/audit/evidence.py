"""What a run proves and what it does not: whom each kind of strike hit, and how long everything took; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from tokenwire.audit.schedule import Fault

NEEDED = 20
"""Running responses that a kind of kill, freeze, drain or cut must have hit to prove anything."""
NEED_MANY = frozenset(
    {
        Fault.KILL_WORKER,
        Fault.FREEZE_WORKER,
        Fault.HOLD_WORKER_LINK,
        Fault.DRAIN_WORKER,
        Fault.CUT_WORKER_LINK,
        Fault.KILL_GATEWAY,
        Fault.FREEZE_GATEWAY,
        Fault.DRAIN_GATEWAY,
        Fault.CUT_GATEWAY_LINK,
        Fault.CUT_LIVE_LINK,
        Fault.RESTART_SERVER,
        Fault.CUT_SUBSCRIBERS,
        Fault.KILL_SERVER,
        Fault.LOSE_TAIL,
        Fault.FILL_MEMORY,
        Fault.FAIL_OVER,
        Fault.MOVE_SLOTS,
    }
)


@dataclass(slots=True)
class Evidence:
    """What a run proves, and what it does not."""

    hits: dict[Fault, int] = field(default_factory=dict)
    """Running responses hit, per kind of strike."""
    strikes: dict[Fault, int] = field(default_factory=dict)
    pauses: dict[Fault, list[float]] = field(default_factory=dict)
    """Seconds from a strike at a worker to the next token, where a slot was free."""
    crowded_pauses: list[float] = field(default_factory=list)
    """The same where no slot was free, or the machine stood still meanwhile."""
    stop_delays: list[float] = field(default_factory=list)
    troubled_stops: list[float] = field(default_factory=list)
    """Stops during a fault on their way."""
    freed: list[float] = field(default_factory=list)
    """Seconds from a stop's ending to its slot being free."""
    after_stop: list[float] = field(default_factory=list)
    stopped_queued: int = 0
    orphans: list[float] = field(default_factory=list)
    """Seconds for which responses ran on after everybody had left."""
    drain_exits: list[float] = field(default_factory=list)
    resumes: int = 0
    elsewhere: int = 0
    merged: int = 0
    slow: int = 0
    restarts: int = 0
    """Sockets sent elsewhere by a draining gateway."""
    poisons: int = 0
    told_lost: int = 0
    """Viewers that were told that a server had lost what they had seen."""
    lost_endings: int = 0
    """Viewers that had seen an ending which a server lost then: nobody can be told of it any more."""
    stalled: float = 0.0
    """Seconds in which a process of the audit, or of the fleet, waited for a processor."""

    def thin(self, least: int = NEEDED) -> list[str]:
        """Say which kinds of strikes hit too few running responses (``least``) to prove anything."""
        found = []
        if self.strikes.get(Fault.LOSE_TAIL) and not self.told_lost:
            found.append(f"{Fault.LOSE_TAIL}: nobody had seen what was lost")
        for fault, count in self.strikes.items():
            hits = self.hits.get(fault, 0)
            needed = least if fault in NEED_MANY else 1
            if hits < needed:
                found.append(f"{fault}: {hits} running responses hit in {count} strikes, {needed} needed")
        return found

    def add(self, other: Evidence) -> None:
        """Take in what another run has found."""
        for each in fields(self):
            mine, more = getattr(self, each.name), getattr(other, each.name)
            if isinstance(mine, dict):
                for key, value in more.items():
                    mine[key] = mine[key] + value if key in mine else value
            else:
                setattr(self, each.name, mine + more)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` of the values lie (nearest rank); 0 of none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
