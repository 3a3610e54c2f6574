"""An HTTP answer whose asker may be sent away in its midst."""

from __future__ import annotations

import asyncio

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from gateway.answers import error_answer
from gateway.errors import Code, WireError
from gateway.principal import Principal
from gateway.roster import Roster

_IN_CHUNKS = ("/v1/chat/completions", "/v1/completions")


class Visit(Response):
    """Gives another answer; an expelled asker's is cut off as if the asker had left, with a word why."""

    def __init__(self, answer: Response, principal: Principal, roster: Roster) -> None:
        super().__init__()
        self.principal = principal
        self._answer = answer
        self._roster = roster
        self._expelled = asyncio.Event()
        self._begun = self._whole = False

    def expel(self, reason: str) -> None:
        """Cut the answer off."""
        del reason  # the client is told what it would be told at the door
        self._expelled.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def watched() -> Message:
            return await self._received(receive)

        async def noted(message: Message) -> None:
            self._begun = True
            self._whole = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        self._roster.add(self)
        try:
            await self._answer(scope, watched, noted)
            if self._expelled.is_set() and not self._whole:
                await self._say_why(scope, receive, send)
        finally:
            self._roster.discard(self)

    async def _received(self, receive: Receive) -> Message:
        message = asyncio.ensure_future(receive())
        expelled = asyncio.ensure_future(self._expelled.wait())
        try:
            await asyncio.wait([message, expelled], return_when=asyncio.FIRST_COMPLETED)
            return {"type": "http.disconnect"} if expelled.done() else message.result()
        finally:
            message.cancel()
            expelled.cancel()

    async def _say_why(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = WireError(Code.INVALID_API_KEY, "The credential has expired or was revoked.")
        if not self._begun:
            await error_answer(error)(scope, receive, send)
            return
        chunks = scope["path"] in _IN_CHUNKS
        datum = b"data: %b\n\n" % error.http() if chunks else b"event: error\ndata: %b\n\n" % error.datum()
        await send({"type": "http.response.body", "body": datum, "more_body": False})
