"""Where a viewer connects next."""

from __future__ import annotations

from tokenwire.audit.desk import Desk

_RESTART_CODES = (1001, 1012)
_TRY_LATER = 1013


class Route:
    """Which gateway a viewer connects to next, and after which pause."""

    def __init__(self, desk: Desk, gateway: int = -1) -> None:
        """Begin at any gateway, or at another one than ``gateway`` if that is given."""
        self._desk = desk
        self.gateway = desk.other(gateway) if gateway >= 0 else desk.draw.randrange(len(desk.gateways))
        self.pause = 0.0
        """Seconds."""
        self._failures = 0

    def leave(self, pause: float) -> None:
        """Go to another gateway."""
        self.gateway = self._desk.other(self.gateway)
        self.pause = pause

    def was_reached(self) -> None:
        """Take note of a socket."""
        self._failures, self.pause = 0, 0.0

    def was_not_reached(self) -> None:
        """Try another gateway, later each time."""
        self.gateway = self._desk.other(self.gateway)
        self._failures += 1
        self.pause = self._desk.draw.uniform(0.0, min(2.0, 0.1 * 2**self._failures))

    def was_refused(self, retry: float | None) -> None:
        """Ask again after the time that the refusal named, within reason."""
        self.pause = min(retry or 1.0, 3.0) * self._desk.draw.uniform(0.8, 1.2)

    def was_closed(self, code: int) -> None:
        """Choose where to go next, by what the server said."""
        self.gateway = self._desk.other(self.gateway)
        if code == _TRY_LATER:
            self.pause = self._desk.draw.uniform(0.3, 1.0)
        elif code in _RESTART_CODES:
            self.pause = self._desk.draw.uniform(0.0, 0.1)
        else:
            self.pause = max(self.pause, self._desk.draw.uniform(0.0, 0.3))
