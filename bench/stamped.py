"""The echo engine, saying with each token when its step was over, and a worker that computes with it.

`python -m bench.stamped` is the product's worker in everything but its engine's words.  The clock is the machine's
monotonic one, which all its processes share.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import worker.__main__
from worker.engines import echo
from worker.engines.contract import Event, Piece

_STAMP = re.compile(rb"\d{20}(?= )")


class StampedEcho(echo.EchoEngine):
    """Each token of a step says the step's end."""

    def step(self) -> list[Event]:
        """Make what is due, then write the time on it."""
        events = super().step()
        text = f"{time.monotonic_ns():020d} "
        return [replace(event, text=text) if isinstance(event, Piece) else event for event in events]


def ages(data: bytes, now: int) -> Iterator[int]:
    """Return how many nanoseconds old each token in ``data`` is."""
    return (now - int(stamp) for stamp in _STAMP.findall(data))


if __name__ == "__main__":
    echo.EchoEngine = StampedEcho  # type: ignore[misc]  # the registry takes it from there
    sys.exit(worker.__main__.main())
