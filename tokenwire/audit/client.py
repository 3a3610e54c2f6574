"""Clients as users are: they ask, reload, stop, watch, read slowly and leave, and write down all they see."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import urlencode

import msgspec

from tokenwire.audit.asks import Ask, Doing
from tokenwire.audit.desk import Desk
from tokenwire.audit.events import Event, Problem, Response, create, ending_of
from tokenwire.audit.route import Route
from tokenwire.audit.transcript import DELTA, TERMINAL_TYPES, Refusal, Seen, Stay, Stop, Viewing
from tokenwire.audit.websocket import RefusedHandshake, Socket, dial

SILENCE = 8.0
"""Seconds without an event after which a client connects elsewhere: its gateway may be frozen."""
_PATIENCE = 12
"""Times a refused create is asked again."""
_SIP_SECONDS = 2.0
_FATAL = frozenset({"resume_unavailable", "response_not_found", "starting_after_out_of_range"})


class Viewer:
    """One viewer of one response, through as many sockets as it takes."""

    def __init__(
        self, desk: Desk, ask: Ask, viewer: int = 0, response_id: str = "", gateway: int = -1
    ) -> None:
        self.viewing = Viewing(
            key=ask.key,
            viewer=viewer,
            doing=ask.doing,
            prompt=ask.prompt,
            max_tokens=ask.max_tokens,
            asked_at=time.time(),
            response_id=response_id,
            stop_strings=ask.stop_strings,
        )
        self._desk = desk
        self._ask = ask
        self._route = Route(desk, gateway)
        self._marks = list(ask.marks) if viewer == 0 and ask.doing not in (Doing.PLAIN, Doing.WATCH) else []
        self._wake = asyncio.Event()
        self._heard = 0.0
        self._watched = False

    async def run(self, *, once: bool = False) -> None:
        """View until the end; with ``once`` a refused create is not asked again."""
        viewing = self.viewing
        try:
            while not viewing.over:
                await asyncio.sleep(self._route.pause)
                await self._visit()
                if (
                    not viewing.response_id
                    and viewing.refusals
                    and (once or self._desk.closing or len(viewing.refusals) > _PATIENCE)
                ):
                    self._finish("refused")
        finally:
            self._finish("unfinished")
            self._desk.put(viewing)

    # ---- one socket ----

    async def _visit(self) -> None:
        """Open one socket and stay as long as it stands."""
        began = time.time()
        try:
            socket = await dial(
                self._desk.gateways[self._route.gateway],
                self._query(),
                self._received,
                slow=self._ask.doing is Doing.SLOW,
            )
        except RefusedHandshake as refusal:
            self._was_refused_a_socket(refusal, began)
            return
        except (OSError, TimeoutError):
            self._route.was_not_reached()
            return
        self._route.was_reached()
        await self._stay(socket)

    async def _stay(self, socket: Socket) -> None:
        viewing = self.viewing
        after = self._cursor if viewing.response_id else -2
        stay = Stay(self._route.gateway, time.time(), after)
        viewing.stays.append(stay)
        self._desk.sockets += 1
        socket.on_end = self._wake.set
        try:
            self._greet(socket)
            await self._attend(socket, stay)
        finally:
            self._note_end(socket, stay)

    def _note_end(self, socket: Socket, stay: Stay) -> None:
        self._desk.sockets -= 1
        stay.closed = time.time()
        stay.in_flight = not self.viewing.over and bool(self.viewing.response_id)
        if socket.ended.is_set() and not stay.by_client:
            stay.code = socket.code
        if socket.ended.is_set():
            self._route.was_closed(socket.code)
        elif self.viewing.over and self.viewing.over != "left":
            socket.close()
        else:
            socket.abort()

    def _greet(self, socket: Socket) -> None:
        """Say what this socket is for; a resume may have said it in the handshake already."""
        viewing = self.viewing
        self._heard = time.time()
        if not viewing.response_id:
            self._desk.asked += not viewing.refusals
            socket.send(msgspec.json.encode(create(self._ask)))
        elif not self._by_query:
            resume: dict[str, object] = {
                "type": "response.resume",
                "response_id": viewing.response_id,
                "starting_after": self._cursor,
            }
            if viewing.seen:
                resume["epoch"] = viewing.seen[-1].epoch
            socket.send(msgspec.json.encode(resume))

    def _query(self) -> str:
        """Return the handshake's query: it resumes about every second time, and else a message does."""
        viewing = self.viewing
        self._by_query = bool(viewing.response_id) and self._desk.draw.random() < 0.5
        if not self._by_query:
            return ""
        fields: dict[str, object] = {"response_id": viewing.response_id, "starting_after": self._cursor}
        if viewing.seen:
            fields["epoch"] = viewing.seen[-1].epoch
        return urlencode(fields)

    @property
    def _cursor(self) -> int:
        return self.viewing.seen[-1].number if self.viewing.seen else -1

    async def _attend(self, socket: Socket, stay: Stay) -> None:
        """Wait for the end of the response or of the socket, and act when it is time."""
        viewing = self.viewing
        while not viewing.over and not socket.ended.is_set() and not stay.by_client:
            if viewing.refusals and self._route.pause:
                return
            if self._marks and len(viewing.seen) >= self._marks[0]:
                self._marks.pop(0)
                await self._act(socket, stay)
                continue
            self._wake.clear()
            left = self._heard + SILENCE - time.time()
            if left <= 0:
                stay.by_client = True
                self._route.leave(self._route.pause)
                return
            try:
                async with asyncio.timeout(left):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _act(self, socket: Socket, stay: Stay) -> None:
        match self._ask.doing:
            case Doing.RELOAD:
                stay.by_client = True
                self._route.leave(self._ask.pause)
                socket.abort()
            case Doing.STOP:
                self._stop(socket)
            case Doing.LEAVE:
                stay.by_client = True
                self.viewing.left_at = time.time()
                self._finish("left")
            case Doing.SLOW:
                await self._read_slowly(socket)
                self._heard = time.time()
            case _:
                pass

    async def _read_slowly(self, socket: Socket) -> None:
        """Take nothing for a while, or a sip now and then: too much to be cut, too little to keep up."""
        sips = 1 if self._ask.how == "same" else round(self._ask.pause / _SIP_SECONDS)
        for _ in range(sips):
            if socket.ended.is_set():
                return
            socket.read_on(False)
            await asyncio.sleep(self._ask.pause / sips)
            socket.read_on(True)
            await asyncio.sleep(0)

    # ---- what comes ----

    def _received(self, raw: bytes) -> None:
        event = self._desk.decode(raw)
        now = self._heard = time.time()
        viewing = self.viewing
        if event.type == "error":
            self._was_refused(event, now)
            return
        first = event.first_sequence_number if event.first_sequence_number >= 0 else event.sequence_number
        text = event.delta if event.type == DELTA else event.text
        viewing.seen.append(
            Seen(first, event.sequence_number, event.epoch, event.type, text, now, len(viewing.stays) - 1)
        )
        self._desk.seen += 1
        if event.response is not None:
            self._told(event, event.response)
        if self._marks and len(viewing.seen) >= self._marks[0]:
            self._wake.set()

    def _told(self, event: Event, response: Response) -> None:
        """Learn the response's id, or how it ended."""
        viewing = self.viewing
        viewing.response_id = viewing.response_id or response.id
        if event.type in TERMINAL_TYPES:
            viewing.ending = ending_of(event, response)
            self._finish("ended")
            self._wake.set()
        elif self._ask.doing is Doing.WATCH and viewing.viewer == 0 and not self._watched:
            self._watched = True
            self._desk.spawn(self._watch_too())

    async def _watch_too(self) -> None:
        """Come as a second viewer, some time after the first."""
        await asyncio.sleep(self._ask.pause)
        await Viewer(self._desk, self._ask, 1, self.viewing.response_id, self._route.gateway).run()

    def _was_refused(self, event: Event, now: float) -> None:
        viewing = self.viewing
        problem = event.error or Problem("unknown")
        if viewing.response_id:
            viewing.errors.append(problem.code)
            if problem.code in _FATAL:
                self._finish("lost")
                self._wake.set()
            return
        self._refused(now, viewing.asked_at, problem.code, event.status, problem.retry_after)
        self._wake.set()

    def _was_refused_a_socket(self, refusal: RefusedHandshake, began: float) -> None:
        retry = refusal.headers.get("retry-after")
        code = f"HTTP {refusal.status}"
        self._refused(time.time(), began, code, refusal.status, None if retry is None else float(retry))
        self._route.leave(min(self._route.pause, 0.3))

    def _refused(self, now: float, began: float, code: str, status: int, retry: float | None) -> None:
        self.viewing.refusals.append(Refusal(now, now - began, code, status, retry))
        self._desk.refused += 1
        self._route.was_refused(retry)

    # ---- stopping, leaving, moving on ----

    def _stop(self, socket: Socket) -> None:
        """Press Stop here, on another socket of the same gateway, or on another gateway."""
        cancel = msgspec.json.encode(
            {"type": "response.cancel", "response_id": self.viewing.response_id}
            if self._ask.how != "same" or self._desk.draw.random() < 0.5
            else {"type": "response.cancel"}
        )
        self._desk.stops += 1
        if self._ask.how == "same":
            said = socket.send(cancel)
            self.viewing.stops.append(Stop(time.time(), "same", self._route.gateway, said))
            return
        there = self._route.gateway if self._ask.how == "socket" else self._desk.other(self._route.gateway)
        self._desk.spawn(self._stop_from(there, cancel))

    async def _stop_from(self, gateway: int, cancel: bytes) -> None:
        try:
            socket = await dial(self._desk.gateways[gateway], "", lambda _: None)
        except (OSError, TimeoutError, RefusedHandshake):
            self.viewing.stops.append(Stop(time.time(), self._ask.how, gateway, said=False))
            return
        said = socket.send(cancel)
        self.viewing.stops.append(Stop(time.time(), self._ask.how, gateway, said))
        try:
            async with asyncio.timeout(1.0):
                await socket.ended.wait()
        except TimeoutError:
            socket.close()

    def _finish(self, how: str) -> None:
        viewing = self.viewing
        if not viewing.over:
            viewing.over, viewing.over_at = how, time.time()
            self._desk.ended += how == "ended" and viewing.viewer == 0
