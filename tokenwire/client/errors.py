"""What ends a stream that has no ending of its own."""

from __future__ import annotations


class StreamError(Exception):
    """A stream cannot go on; the message is one sentence for people.

    ``code`` is a word for programs; ``response_id`` is known once the server has named the response.
    """

    def __init__(
        self, sentence: str, code: str, *, response_id: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(sentence)
        self.code = code
        self.response_id = response_id
        self.retry_after = retry_after
        """Seconds after which asking again makes sense, if the server says so."""


class Refused(StreamError):
    """The server does not take the request, or not from this caller; nothing was computed."""


class Failed(StreamError):
    """The response ended as failed; what had come before stands."""


class Lost(StreamError):
    """What was shown can't be continued: the response's log expired, was lost, or is not the caller's."""


class Unreachable(StreamError):
    """No server could be reached for as long as the caller had patience."""
