"""All that is known of one response: what its viewers saw, and its log; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.log import Entry, Kind, unescape
from tokenwire.audit.transcript import Viewing


@dataclass(frozen=True, slots=True)
class History:
    """All that is known of one response."""

    response_id: str
    viewings: Sequence[Viewing]
    log: Sequence[Entry] | None
    """None if the store cannot be asked: then the viewers are compared with each other."""

    @property
    def ending(self) -> Entry | None:
        """The log's ending."""
        return self.log[-1] if self.log and self.log[-1].kind is Kind.ENDED else None

    @property
    def handed(self) -> bool:
        """Whether more than one worker wrote it."""
        return any(entry.kind is Kind.HANDED for entry in self.log or ())

    @property
    def text(self) -> str:
        """The log's text."""
        return unescape("".join(entry.text for entry in self.log or ()))


def told_lost(viewing: Viewing) -> bool:
    """Say whether a viewer was told that what it had seen is lost."""
    return viewing.over == "lost"


def saw_lost_ending(history: History, viewing: Viewing) -> bool:
    """Say whether it saw an ending that a server lost afterwards: the response ended again, under a later epoch.

    Of that nobody can be told any more: whoever has seen the ending is gone.
    """
    again = history.ending
    return viewing.ending is not None and again is not None and viewing.seen[-1].epoch < again.epoch
