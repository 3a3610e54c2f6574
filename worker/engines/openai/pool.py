"""Which upstream is asked: the least loaded of those that are well.  Pure: the time comes in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from worker.engines.openai.body import Flavour

_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 10.0
_LONGEST_ASKED = 60.0
"""Seconds; an upstream that asks for a longer pause is asked again after these."""


@dataclass(slots=True)
class Upstream:
    """One server, as far as it is known."""

    url: str
    """Base, with ``/v1``."""
    flavour: Flavour = Flavour.OTHER
    running: int = 0
    failures: int = 0
    """In a row."""
    rests_until: float = 0.0
    bidden: bool = False
    """It has asked for its pause itself: that others are answered meanwhile does not end it."""
    asked: int = 0

    def failed(self, now: float, pause: float = 0.0) -> None:
        """Leave it alone for ``pause`` seconds, or for twice as long as the last time."""
        self.failures += 1
        own = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self.failures - 1, 10))
        until = now + (min(pause, _LONGEST_ASKED) or own)
        self.rests_until = max(until, self.rests_until) if self.bidden else until
        self.bidden = bool(pause) or (self.bidden and self.rests_until > until)

    def worked(self) -> None:
        """Forget its failures, but not the pause that it has asked for."""
        self.failures = 0
        if not self.bidden:
            self.rests_until = 0.0


def choose(upstreams: Sequence[Upstream], now: float) -> Upstream | None:
    """Return the one with the fewest running requests, of equals the one asked least; None if all rest."""
    awake = [upstream for upstream in upstreams if upstream.rests_until <= now]
    return min(awake, key=lambda upstream: (upstream.running, upstream.asked), default=None)


def wakes_at(upstreams: Sequence[Upstream]) -> float:
    """Return when the first of them may be asked again."""
    return min(upstream.rests_until for upstream in upstreams)
