"""What a command tells a user who has to do something."""

from __future__ import annotations

FAILED = 1
"""Exit code: something that was started failed."""

REFUSED = 2
"""Exit code: what was asked cannot be done; the user has to change something."""


class CommandError(Exception):
    """A command cannot go on; the message is one sentence saying what to do, ``code`` the exit code."""

    def __init__(self, sentence: str, code: int = REFUSED) -> None:
        super().__init__(sentence)
        self.code = code
