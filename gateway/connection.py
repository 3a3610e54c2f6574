"""The shell around one WebSocket: moves messages into the session, and out of it what it wants done."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import assert_never

from websockets.exceptions import ConnectionClosed

from gateway.attachment import Attachment
from gateway.desk import Desk
from gateway.door import DoorConnection
from gateway.errors import RESUMABLE, CloseCode, Code, WireError
from gateway.principal import Principal
from gateway.render import DeltaFrame, Event, is_scored, joined
from gateway.sender import Sender
from gateway.session import Close, Effect, Follow, Lane, Say, Session, Stop, Submit
from gateway.times import Viewing
from gateway.wire import Command, Rejected, Resume, parse
from shared.request import Request

CLOSE_SECONDS = 3.0
"""How long a closing handshake may take; a reader that takes nothing never answers it."""


class Connection:
    """One WebSocket."""

    stays = False
    """Its client can go on elsewhere."""

    def __init__(
        self, socket: DoorConnection, principal: Principal, desk: Desk, traceparent: str | None = None
    ) -> None:
        self._socket = socket
        self._traceparent = traceparent
        self.principal = principal
        self._desk = desk
        self._session = Session(desk.limits, desk.clock())
        self.sender = Sender(socket, desk.clock, desk.metrics, self._cut)
        self._attachments: dict[Lane, Attachment] = {}
        self._gone = False
        self._sent_away = False
        """We closed it, and the client may go on elsewhere: that is no leaving."""

    async def run(self, resumes: Iterable[Resume]) -> None:
        """Read messages until the socket is gone."""
        try:
            for resume in resumes:
                self._perform(self._session.receive(resume, self._desk.clock()))
            while True:
                message = await self._socket.recv()
                if isinstance(message, bytes):
                    await self._close(CloseCode.BINARY, "text frames only")
                    return
                command = await self._counted(parse(message))
                self._perform(self._session.receive(command, self._desk.clock()))
        except ConnectionClosed:
            pass  # whoever closed it has said so; there is nothing left to answer
        finally:
            self._leave()

    def tick(self) -> None:
        """Look at the clock."""
        now = self._desk.clock()
        self.sender.look(now)
        self._perform(self._session.tick(now))

    def drain(self) -> None:
        """Send the client elsewhere."""
        self._perform(self._session.drain(self._desk.clock()))

    async def _counted(self, message: Command | Rejected) -> Command | Rejected:
        """Count a message among all of its principal's; one too many is answered in its turn, as any bad one."""
        error = await self._desk.meter.message(self.principal)
        if error is None:
            return message
        event_id = message.error.event_id if isinstance(message, Rejected) else message.event_id
        return Rejected(error.about(event_id), message.stream_id)

    def expel(self, reason: str) -> None:
        """Close the socket: its credential is no longer good, and coming back with it is no use."""
        self._session.closed()
        self._perform([Close(CloseCode.POLICY, reason)])

    def _cut(self) -> None:
        self._perform([Close(CloseCode.TRY_LATER, "reading too slowly; resume later")])

    # ---- what the session wants ----

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Submit():
                    self._desk.tasks.spawn(self._submit(effect, self._desk.clock()), "submit")
                case Follow():
                    self._follow(effect)
                case Stop():
                    self._desk.tasks.spawn(self._stop(effect, self._desk.clock()), "stop")
                case Say():
                    self._say(effect)
                case Close():
                    self._desk.tasks.spawn(self._close(effect.code, effect.reason), "close")
                case _:
                    assert_never(effect)

    async def _submit(self, submit: Submit, asked_at: float) -> None:
        desk = self._desk
        watcher = desk.hub.watcher()
        try:
            reply = await desk.admission.submit(
                submit.create, self.principal, watcher, traceparent=self._traceparent
            )
        except Exception:  # the lane must not wait for ever, whatever went wrong
            error = WireError(Code.SERVER_ERROR, event_id=submit.create.event_id)
            self._perform(self._session.refused(submit.lane, error, desk.clock()))
            raise
        if isinstance(reply, WireError):
            error = reply.about(submit.create.event_id)
            self._perform(self._session.refused(submit.lane, error, desk.clock()))
            return
        if self._gone:
            if not self._sent_away:
                desk.hub.leave(reply.response_id, watcher)
            return
        times = desk.asking(reply, asked_at, self._traceparent)
        self._attach(submit.lane, Resume(reply.response_id), watcher, times, asked=True)
        self._perform(self._session.accepted(submit.lane, reply.response_id))

    def _follow(self, follow: Follow) -> None:
        times = self._desk.resuming(self._traceparent)
        self._attach(follow.lane, follow.resume, self._desk.hub.watcher(), times)

    def _attach(
        self, lane: Lane, resume: Resume, watcher: str, times: Viewing, *, asked: bool = False
    ) -> None:
        self._attachments[lane] = self._desk.hub.attach(
            resume.response_id,
            self.principal.name,
            _LaneReader(self, lane, resume.response_id, resume.event_id),
            times,
            watcher=watcher,
            after=resume.starting_after,
            epoch=resume.epoch,
            asked=asked,
        )

    async def _stop(self, stop: Stop, asked_at: float) -> None:
        attachment = self._attachments.get(stop.lane)
        if attachment is not None and stop.own:
            attachment.times.stop_asked(asked_at)
        reply = await self._desk.admission.cancel(stop.response_id, self.principal.name)
        if isinstance(reply, WireError):
            self._perform(self._session.not_stopped(stop, reply))
        elif reply.already:
            self._perform(self._session.not_stopped(stop, WireError(Code.RESPONSE_NOT_ACTIVE)))

    def _say(self, say: Say) -> None:
        self._desk.metrics.rejections.labels(say.error.code.value).inc()
        self.sender.event(None, say.error.event(say.lane))

    async def _close(self, code: CloseCode, reason: str) -> None:
        """Close, and cut the connection if the client does not take part."""
        if code is CloseCode.DONE and self.sender.waits:
            code, reason = CloseCode.RESTART, "resumable"  # an ending waits here, so it is not done
        self.sender.close()
        self._sent_away = code in RESUMABLE
        self._desk.metrics.closes[code].inc()
        self._desk.log.info("socket_closed", code=int(code), reason=reason, connection=str(self._socket.id))
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._socket.close(code, reason)
        except TimeoutError:
            self._socket.transport.abort()

    def _leave(self) -> None:
        """Let go of everything; leaving stops no response."""
        self._gone = True
        self._session.closed()
        for attachment in self._attachments.values():
            self._desk.hub.detach(attachment, left=not self._sent_away)
        self._attachments.clear()
        self.sender.end()

    # ---- what the lanes' readers tell ----

    def begun(self, lane: Lane) -> None:
        """Learn that the client was told what runs on the lane."""
        self._perform(self._session.begun(lane, self._desk.clock()))

    def ended(self, lane: Lane) -> None:
        """Learn that the lane's response was delivered to its ending."""
        self._attachments.pop(lane, None)
        self._perform(self._session.ended(lane, self._desk.clock()))

    def failed(self, lane: Lane, error: WireError) -> None:
        """Learn that the lane's response cannot be followed."""
        self._attachments.pop(lane, None)
        self._perform(self._session.refused(lane, error, self._desk.clock()))


class _LaneReader:
    """Delivers one response to one lane."""

    __slots__ = (
        "_begun",
        "_connection",
        "_epoch",
        "_event_id",
        "_frame",
        "_lane",
        "_response_id",
        "_scored",
        "_sender",
    )

    def __init__(self, connection: Connection, lane: Lane, response_id: str, event_id: str | None) -> None:
        self._connection = connection
        self._sender = connection.sender
        self._lane = lane
        self._response_id = response_id
        self._event_id = event_id
        self._epoch = 0
        self._frame = DeltaFrame(response_id, 0, lane)
        self._scored = False
        self._begun = False

    def joined(self, request: Request) -> None:
        """Note how deltas are to be framed."""
        self._scored = is_scored(request)

    def delta(self, epoch: int, number: int, text: bytes) -> None:
        """Send one delta."""
        self._sender.delta(self, self._frame_of(epoch), number, text)

    def replay(self, epoch: int, first: int, texts: Sequence[bytes]) -> None:
        """Send deltas of the log, joined."""
        for begin, end, text in joined(first, texts):
            self._sender.joined(self, self._frame_of(epoch), begin, end, text)

    def events(self, events: Sequence[Event]) -> None:
        """Send other events."""
        for event in events:
            self._sender.event(self, event.on(self._lane))
        if not self._begun:
            self._begun = True
            self._connection.begun(self._lane)

    def ended(self) -> None:
        """Free the lane."""
        self._connection.ended(self._lane)

    def failed(self, error: WireError) -> None:
        """Free the lane with an error."""
        self._connection.failed(self._lane, error.about(self._event_id))

    def _frame_of(self, epoch: int) -> DeltaFrame:
        if epoch != self._epoch:
            self._epoch = epoch
            self._frame = DeltaFrame(self._response_id, epoch, self._lane, scored=self._scored)
        return self._frame
