"""How many handshakes a second are carried out, and when the others may ask again; pure.

When a gateway dies, all its clients are at the door of the others within a second.  A handshake costs about as
much as forty tokens, so without a bound those who have a socket would wait for those who want one.
"""

from __future__ import annotations

import math

MOST_SECONDS = 30
"""What the last of the turned away is told at most."""


class Turnstile:
    """A bucket of ``rate`` handshakes a second that holds one second's worth.

    Whoever is turned away is told to come back when those before it have had their turn, so that the crowd
    comes back spread over the time that it takes to serve it.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._left = max(1.0, rate)
        self._behind = 0.0
        self._at = 0.0

    def enter(self, now: float) -> int | None:
        """Let one in (None), or return the seconds after which it may ask again; ``now`` never falls."""
        gained = (now - self._at) * self._rate
        self._at = now
        self._left = min(max(1.0, self._rate), self._left + gained)
        self._behind = max(0.0, self._behind - gained)
        if self._left >= 1.0:
            self._left -= 1.0
            return None
        self._behind += 1.0
        return min(MOST_SECONDS, math.ceil(self._behind / self._rate))
