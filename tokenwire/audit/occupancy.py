"""How full each worker was, and when; pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from tokenwire.audit.facts import Fact, Struck
from tokenwire.audit.schedule import Fault


class Occupancy:
    """How many responses each worker had when."""

    def __init__(self, facts: Sequence[Fact], struck: Sequence[Struck], slots: int) -> None:
        self._slots = slots
        owned = [each for fact_ in facts for each in fact_.owned]
        self._begins: dict[str, list[float]] = {}
        self._ends: dict[str, list[float]] = {}
        for each in owned:
            self._begins.setdefault(each.owner, []).append(each.begin)
            self._ends.setdefault(each.owner, []).append(each.end)
        for times in (*self._begins.values(), *self._ends.values()):
            times.sort()
        self._down = [
            (s.target, s.begin, s.end) for s in struck if s.fault.on_worker or s.fault is Fault.POISON
        ]

    def free(self, begin: float, end: float) -> bool:
        """Say whether some unharmed worker had a slot free at every moment between."""
        moment = begin
        while moment < end:
            if not any(self._has_room(worker, moment) for worker in self._begins):
                return False
            moment += 0.1
        return True

    def _has_room(self, worker: str, at: float) -> bool:
        if any(name == worker and begin <= at <= end for name, begin, end in self._down):
            return False
        running = bisect_right(self._begins[worker], at) - bisect_left(self._ends[worker], at)
        return running < self._slots
