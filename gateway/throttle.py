"""Slows down who guesses credentials; pure.

Counted at each gateway for itself: what guards the store must not need it.
"""

from __future__ import annotations

from collections import OrderedDict

_MOST_ADDRESSES = 10_000
"""Addresses remembered; beyond it the one that failed longest ago is forgotten."""


class Throttle:
    """Wrong credentials by address: ``most`` at once, and as many more in each minute."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._interval = 60.0 / most
        self._clean_at: OrderedDict[str, float] = OrderedDict()
        """When an address will have paid for all its failures (GCRA's theoretical arrival time)."""

    def wait(self, address: str, now: float) -> float:
        """Return the seconds that an address has to wait before it may try again, 0 if it may now."""
        owed = self._clean_at.get(address, now) - now
        return max(0.0, owed - (self._most - 1) * self._interval)

    def failed(self, address: str, now: float) -> None:
        """Note a wrong credential."""
        self._clean_at[address] = max(self._clean_at.get(address, now), now) + self._interval
        self._clean_at.move_to_end(address)
        if len(self._clean_at) > _MOST_ADDRESSES:
            self._clean_at.popitem(last=False)
