"""Who follows what: brings each live message to its readers and each reader's gap to the log.

One subscription per response and process, one timer for all readers.  The dispatcher never waits: a
reader takes what it is given or keeps it in its outbox.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from gateway.attachment import Attachment, Reader
from gateway.follower import Follower, Lost, State, Verdict
from gateway.metrics import Metrics
from gateway.response import Snapshot, snapshot
from gateway.tasks import Tasks
from gateway.times import Viewing
from shared.log import LiveMessage
from shared.observe import Log
from shared.store.contract import Followed, GatewayStore, Live, Refused, StoreUnavailable, Watch

_DETACH_PAUSES = (0.0, 0.5, 2.0)
"""Seconds before each try to say that a viewer left; if all fail its lease runs out."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Times of the hub, in seconds."""

    tick: float = 0.25
    silence: float = 2.0
    """A reader that hears nothing for so long is checked against the log."""
    refresh: float = 10.0
    """How often an attachment's lease is renewed at least."""
    again: float = 0.1
    """Before a failed read is tried again; doubled each time up to ``silence``, times 0.5 to 1.5."""
    subscribe: float = 2.0
    """How long a reader waits for the subscription before it reads without one."""


@dataclass(slots=True)
class _Channel:
    """The subscription to one response."""

    subscribed: asyncio.Task[None]
    attachments: tuple[Attachment, ...] = field(default=())


class Hub:
    """All attachments of a gateway."""

    def __init__(  # noqa: PLR0913 - collaborators, passed down by app.py
        self,
        store: GatewayStore,
        *,
        name: str,
        clock: Callable[[], float],
        log: Log,
        metrics: Metrics,
        pace: Pace | None = None,
    ) -> None:
        self._store = store
        self._name = name
        self._clock = clock
        self._metrics = metrics
        self._pace = pace or Pace()
        self._tasks = Tasks(log)
        self._channels: dict[str, _Channel] = {}
        self._live: Live | None = None
        self._timer: asyncio.Task[None] | None = None
        self._watchers = 0
        self._reads = asyncio.Semaphore(128)

    @property
    def attachments(self) -> Iterable[Attachment]:
        """All attachments."""
        return (each for channel in self._channels.values() for each in channel.attachments)

    def listen(self, live: Live) -> None:
        """Take the live channel, made with :meth:`on_live` and :meth:`on_link`."""
        self._live = live

    def watcher(self) -> str:
        """Return a name for a new attachment, unique among all gateways."""
        self._watchers += 1
        return f"{self._name}.{self._watchers}"

    def attach(  # noqa: PLR0913 - a cursor has two halves
        self,
        response_id: str,
        principal: str,
        reader: Reader,
        times: Viewing,
        *,
        watcher: str,
        after: int = -1,
        epoch: int | None = None,
        asked: bool = False,
    ) -> Attachment:
        """Begin to follow a response after event ``after``; ``asked`` says that it was created just now."""
        follower = Follower(after, epoch)
        attachment = Attachment(response_id, principal, watcher, reader, times, follower, asked)
        channel = self._channels.get(response_id)
        if channel is None:
            channel = self._channels[response_id] = _Channel(self._subscribe(response_id))
        channel.attachments += (attachment,)
        self._metrics.attachments.inc()
        self._tasks.spawn(self._join(attachment, channel), "join")
        return attachment

    def detach(self, attachment: Attachment, *, left: bool = True) -> None:
        """End an attachment.

        ``left`` says that its reader went away.  One that we send elsewhere has not left: its lease in the
        store stands until it has come back.
        """
        if not attachment.gone:
            self._drop(attachment)
            attachment.times.left(self._clock())
            if left:
                self.leave(attachment.response_id, attachment.watcher)

    def leave(self, response_id: str, watcher: str) -> None:
        """Tell the store that a watcher has left."""
        self._tasks.spawn(self._leave(response_id, watcher), "leave")

    def on_live(self, response_id: str, message: LiveMessage) -> None:
        """Bring one live message to all readers of its response."""
        channel = self._channels.get(response_id)
        if channel is not None:
            for attachment in channel.attachments:
                self._offer(attachment, message)

    def on_link(self) -> None:
        """Read all logs: what was published between two links has been missed."""
        self._metrics.live_links.inc()
        for attachment in list(self.attachments):
            attachment.follower.must_read()
            self._read_soon(attachment)

    def start(self) -> None:
        """Begin to re-check silent readers and to renew attachments."""
        self._timer = self._tasks.every(self._pace.tick, self.look, "look")

    async def look(self) -> None:
        """Begin the reads and checks that are due."""
        now = self._clock()
        due: list[Attachment] = []
        for attachment in list(self.attachments):
            if attachment.follower.state is State.READING:
                if now >= attachment.read_at:
                    self._read_soon(attachment)
            elif attachment.is_due(now, self._pace.silence, self._pace.refresh):
                attachment.attended = now
                due.append(attachment)
        for start in range(0, len(due), 256):
            self._tasks.spawn(self._attend(due[start : start + 256]), "attend")

    async def stop(self, seconds: float = 2.0) -> None:
        """Let go of all readers, without a word to the store, and wait for what is on its way."""
        if self._timer is not None:
            self._timer.cancel()
        for attachment in list(self.attachments):
            self.detach(attachment, left=False)
        await self._tasks.finish(seconds)

    # ---- joining and leaving ----

    def _subscribe(self, response_id: str) -> asyncio.Task[None]:
        if self._live is None:
            raise RuntimeError("the hub follows nothing before listen() was called")
        return self._tasks.spawn(self._live.subscribe(response_id), "subscribe")

    async def _join(self, attachment: Attachment, channel: _Channel) -> None:
        await asyncio.wait([channel.subscribed], timeout=self._pace.subscribe)
        await self._read(attachment)

    async def _leave(self, response_id: str, watcher: str) -> None:
        for pause in _DETACH_PAUSES:
            await asyncio.sleep(pause)
            try:
                await self._store.detach(response_id, watcher)
            except StoreUnavailable:
                continue
            return

    def _drop(self, attachment: Attachment) -> None:
        attachment.gone = True
        self._metrics.attachments.dec()
        channel = self._channels[attachment.response_id]
        channel.attachments = tuple(each for each in channel.attachments if each is not attachment)
        if not channel.attachments:
            del self._channels[attachment.response_id]
            if self._live is not None:
                self._live.unsubscribe(attachment.response_id)

    # ---- the fast path ----

    def _offer(self, attachment: Attachment, message: LiveMessage) -> None:
        verdict = attachment.follower.accept(message)
        if verdict is Verdict.DELIVER:
            attachment.deliver(message, self._clock())
        elif verdict is Verdict.GAP:
            self._metrics.gap_by_number.inc()
            self._read_soon(attachment)
        elif verdict is Verdict.ENDING:
            attachment.ending = True
            self._read_soon(attachment)

    # ---- the log ----

    def _read_soon(self, attachment: Attachment) -> None:
        if not attachment.reading:
            self._tasks.spawn(self._read(attachment), "read")

    async def _read(self, attachment: Attachment) -> None:
        """Read the log until the reader has caught up; a read that fails is due again later."""
        if attachment.reading or attachment.gone:
            return
        attachment.reading = True
        try:
            while attachment.follower.state is State.READING and not attachment.gone:
                pace, draw = self._pace, random.uniform(0.5, 1.5)  # noqa: S311 - jitter
                attachment.put_off(self._clock(), draw * pace.again, draw * pace.silence)
                if not await self._read_once(attachment):
                    return
                attachment.failures = 0
        finally:
            attachment.reading = False

    async def _read_once(self, attachment: Attachment) -> bool:
        """Read once and deliver; False if it must be tried again later."""
        try:
            async with self._reads:
                # To read is to attach: whoever left while this waited its turn would hold the response.
                log = None if attachment.gone else await self._log_of(attachment)
        except StoreUnavailable:
            return False
        if log is None or attachment.gone:
            return True
        if log is Refused.BEHIND:
            return False  # its owner will write the lost tail again
        if isinstance(log, Refused):
            self._refuse(attachment, log)
            return True
        self._catch_up(attachment, log)
        return True

    async def _log_of(self, attachment: Attachment) -> Followed | Refused:
        """Read what the reader misses; the whole log if it has ended, since an ending tells all of it."""
        follower, response_id, principal = attachment.follower, attachment.response_id, attachment.principal
        if not attachment.ending:
            log = await self._store.follow(
                response_id, principal, attachment.watcher, follower.next - 1, follower.cursor_epoch
            )
            if isinstance(log, Refused) or not log.status.terminal or follower.next == 0:
                return log
        return await self._store.follow(response_id, principal, attachment.watcher, -1, None)

    def _catch_up(self, attachment: Attachment, log: Followed) -> None:
        told = snapshot(log.entries) if log.status.terminal else Snapshot()
        replayed = attachment.catch_up(log, told, self._clock())
        if isinstance(replayed, Lost):
            self._refuse(attachment, Refused.RESET)
            return
        self._metrics.replayed.inc(replayed)
        if attachment.follower.state is State.ENDED:
            self._drop(attachment)
            attachment.end(told, self._clock())
        elif log.unreadable:
            self._refuse(attachment, Refused.UNREADABLE)
        else:
            for message in attachment.follower.release():
                self._offer(attachment, message)

    def _refuse(self, attachment: Attachment, refused: Refused) -> None:
        self._metrics.unreadable.inc(refused is Refused.UNREADABLE)
        self._drop(attachment)
        attachment.fail(attachment.why(refused), self._clock())

    # ---- the timer ----

    async def _attend(self, batch: Sequence[Attachment]) -> None:
        """Renew the leases of a batch and read the logs that hold more than their readers have."""
        watches = [Watch(each.response_id, each.watcher) for each in batch]
        try:
            replies = await self._store.attend(watches)
        except StoreUnavailable:
            for attachment in batch:
                attachment.attended -= self._pace.refresh - self._pace.silence
            return
        for attachment, reply in zip(batch, replies, strict=True):
            if attachment.gone or attachment.follower.state is not State.LIVE:
                continue
            if reply is None or reply.status.terminal or reply.last != attachment.follower.next:
                self._metrics.gap_by_silence.inc()
                attachment.follower.must_read()
                self._read_soon(attachment)
