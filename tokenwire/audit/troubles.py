"""What excuses that something took long: strikes at others, and times in which the machine stood still; pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tokenwire.audit.facts import Struck
from tokenwire.audit.schedule import Fault
from tokenwire.audit.transcript import Stall


class Troubles:
    """All strikes and stalls of a run, asked for what was between two times."""

    def __init__(self, struck: Sequence[Struck], stalls: Sequence[Stall]) -> None:
        self._struck = struck
        self._stalls = sorted(stalls, key=lambda stall: stall.start)

    @property
    def stalled_in_all(self) -> float:
        """Seconds in which anything was held up."""
        return self.stalled(0.0, float("inf"), {stall.who for stall in self._stalls})

    def stalled(self, begin: float, end: float, who: Collection[str]) -> float:
        """Return for how long the machine held the audit or one of these up; what is at once counts once."""
        total, at = 0.0, begin
        for stall in self._stalls:
            if (not stall.who or stall.who in who) and stall.end > at and stall.start < end:
                total += min(stall.end, end) - max(stall.start, at)
                at = min(stall.end, end)
        return total

    def struck(self, begin: float, end: float, *, gateways: bool) -> bool:
        """Say whether any gateway (or worker) was struck between two times."""
        return any(
            strike.begin < end
            and strike.end > begin
            and (
                strike.fault.on_server
                or (strike.fault.on_gateway if gateways else strike.fault.on_worker)
                or (strike.fault is Fault.POISON and not gateways)
            )
            for strike in self._struck
        )

    def others(self, strike: Struck, end: float) -> bool:
        """Say whether another process was struck meanwhile: who takes over may itself be slow, or dead."""
        return any(
            (other.target or other.fault.on_server)
            and other.target != strike.target
            and other.begin < end
            and other.end > strike.begin
            for other in self._struck
        )
