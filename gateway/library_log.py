"""What the libraries at the door log, brought into our own lines."""

from __future__ import annotations

import logging
import traceback

from shared.observe import Log

_CUT_BY_US = "ASGI callable returned without completing response."
"""What uvicorn says of a stream that we cut so that its client sees it."""


class LibraryLog(logging.Handler):
    """Brings what libraries log into our lines, without their texts: these may quote what a client sent."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record."""
        if record.msg == _CUT_BY_US:
            return
        error = record.exc_info[1] if record.exc_info else None
        frames = traceback.extract_tb(error.__traceback__) if error is not None else []
        self._log.warning(
            "library",
            library=record.name,
            message=str(record.msg),
            exception=type(error).__name__ if error is not None else None,
            where=[f"{frame.filename}:{frame.lineno}" for frame in frames[-1:]],
        )


def quiet_libraries(handler: logging.Handler) -> None:
    """Send what the libraries at the door log to ``handler`` and nowhere else."""
    for name in ("websockets", "uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers = [handler] if name in ("websockets", "uvicorn") else []
        logger.setLevel(logging.WARNING)
        logger.propagate = name.startswith("uvicorn.")
