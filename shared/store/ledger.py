"""What each principal has used, as the endings have entered it; see ``enter`` in ``scripts/common.lua``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, fields

from shared.store import keys
from shared.store.codec import text_of
from shared.store.link import Server


@dataclass(slots=True)
class Usage:
    """What one principal has used."""

    prompt: int = 0
    cached: int = 0
    """Of the prompt tokens, those that need not be computed."""
    generated: int = 0
    delivered: int = 0
    """Of the generated tokens, those that were streamed; the others are end tokens and what stop strings hid."""
    completed: int = 0
    incomplete: int = 0
    cancelled: int = 0
    failed: int = 0

    @property
    def responses(self) -> int:
        """Return the number of responses, however they ended."""
        return self.completed + self.incomplete + self.cancelled + self.failed


_COUNTED = {field.name for field in fields(Usage)}


class Ledger:
    """Reads the books of all partitions."""

    def __init__(self, link: Server, partitions: int = 1) -> None:
        """Take the greatest number of partitions there ever was."""
        self._link = link
        self._partitions = partitions

    async def usage(self, days: Sequence[int]) -> dict[str, Usage]:
        """Sum up days (since 1970, UTC) by principal.  Raises StoreUnavailable."""
        names = [keys.ledger(partition, day) for day in days for partition in range(self._partitions)]
        total: dict[str, Usage] = {}
        for raw in await asyncio.gather(*(self._link.command("HGETALL", name) for name in names)):
            pairs = raw.items() if isinstance(raw, dict) else zip(raw[::2], raw[1::2], strict=True)
            for field, count in pairs:
                what, principal = text_of(field).split(":", 1)
                if what in _COUNTED:  # a later version may count more
                    usage = total.setdefault(principal, Usage())
                    setattr(usage, what, getattr(usage, what) + int(count))
        return total
