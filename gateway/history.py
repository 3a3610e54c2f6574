"""What was said before: a request may go on from an earlier response instead of sending the conversation."""

from __future__ import annotations

from gateway.errors import Code, WireError
from gateway.refusal import refusal
from gateway.response import snapshot
from gateway.retry import repeated
from gateway.wire import is_response_id
from shared.log import Status, unescape
from shared.request import Message, Request
from shared.store.contract import Followed, GatewayStore, Refused, Remembered

HISTORY_BYTES = 256 * 1024
HISTORY_MESSAGES = 2_000
"""Bounds of what a conversation may have grown to."""

_NO_END = "The previous response has not ended."


class History:
    """Finds the conversation before a request.

    A stored response leaves its state for a day.  Any other one can be gone on from while its log is kept.
    """

    def __init__(self, store: GatewayStore) -> None:
        self._store = store

    async def before(self, previous_id: str | None, principal: str) -> tuple[Message, ...] | WireError:
        """Return the messages up to and including the answer of a response of this principal."""
        if previous_id is None:
            return ()
        if not is_response_id(previous_id):
            return _unknown()
        remembered = await repeated(lambda: self._recall(previous_id, principal))
        if isinstance(remembered, WireError):
            return remembered
        if remembered.request.raw:
            return _unknown("The previous response was no conversation.")
        return _bounded(conversation(remembered))

    async def _recall(self, response_id: str, principal: str) -> Remembered | WireError:
        remembered = await self._store.recall(response_id, principal)
        if isinstance(remembered, Refused):
            return refusal(remembered)
        if remembered is not None:
            return remembered
        log = await self._store.follow(response_id, principal, None, -1, None)
        if log is Refused.UNREADABLE or (isinstance(log, Followed) and log.unreadable):
            return refusal(Refused.UNREADABLE)
        if not isinstance(log, Followed) or log.status is Status.FAILED:
            return _unknown()
        if not log.status.terminal:
            return _unknown(_NO_END)
        return Remembered(log.request, snapshot(log.entries).text)


def conversation(remembered: Remembered) -> tuple[Message, ...]:
    """Return the messages of a response and its answer.  Instructions are its own: they are left out."""
    answer = (Message("assistant", unescape(remembered.text)),) if remembered.text else ()
    return (*said_to(remembered.request), *answer)


def said_to(request: Request) -> tuple[Message, ...]:
    """Return what a request had the model read, without its instructions."""
    return request.messages[1:] if request.echo.get("instructions") else request.messages


def _bounded(messages: tuple[Message, ...]) -> tuple[Message, ...] | WireError:
    if len(messages) > HISTORY_MESSAGES or sum(len(m.text.encode()) for m in messages) > HISTORY_BYTES:
        sentence = "The conversation is longer than this server takes."
        return WireError(Code.CONTEXT_LENGTH_EXCEEDED, sentence, "previous_response_id")
    return messages


def _unknown(sentence: str = "") -> WireError:
    return WireError(Code.PREVIOUS_RESPONSE_NOT_FOUND, sentence, "previous_response_id")
