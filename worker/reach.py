"""Whether the store answers, said once at each turn: an outage is two lines of the log, not five a second."""

from __future__ import annotations

from shared.observe import Log
from shared.store.contract import StoreUnavailable


class Reach:
    """What one asker of the store knows of it."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._answers = True

    def told(self, problem: StoreUnavailable | None) -> None:
        """Note what came of asking: an answer, or a problem."""
        if problem is not None and self._answers:
            self._log.warning("store_unavailable", problem=str(problem))
        if problem is None and not self._answers:
            self._log.info("store_answers")
        self._answers = problem is None
