"""The commands of one socket: lanes, turns, limits and the socket's clock; pure.

A lane runs one response at a time; what comes meanwhile waits its turn.  An error that is not about the
response running on a lane waits too: client libraries take any error as the end of what they wait for.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import assert_never

from gateway.create import Create
from gateway.errors import CloseCode, Code, WireError
from gateway.wire import Cancel, Command, Rejected, Resume

Lane = str | None
"""A lane's ``stream_id``; None is the default lane."""

TELL_SECONDS = 1.0
"""How long a drained socket waits at most until its client knows the ids of what it asked for."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one socket; times in seconds."""

    session: float = 300.0
    """At the first turn boundary after it the client is asked to connect anew."""
    connection: float = 3600.0
    """Cut after it in any case; running responses can be resumed."""
    idle: float = 600.0
    messages_per_minute: float = 100.0
    active: int = 16
    lanes: int = 32
    waiting: int = 16
    """Commands that wait on one lane."""


@dataclass(frozen=True, slots=True)
class Submit:
    """Ask for a response; answer with :meth:`Session.accepted` or :meth:`Session.refused`."""

    lane: Lane
    create: Create


@dataclass(frozen=True, slots=True)
class Follow:
    """Attach to a response; answer with :meth:`Session.ended` or :meth:`Session.refused`."""

    lane: Lane
    resume: Resume


@dataclass(frozen=True, slots=True)
class Stop:
    """End a response; answer with :meth:`Session.not_stopped` if that was refused."""

    lane: Lane
    response_id: str
    event_id: str | None
    own: bool
    """It runs on this very lane, whose reader sees the ending anyway."""


@dataclass(frozen=True, slots=True)
class Say:
    """Send an error on a lane."""

    lane: Lane
    error: WireError


@dataclass(frozen=True, slots=True)
class Close:
    """Close the socket."""

    code: CloseCode
    reason: str


Effect = Submit | Follow | Stop | Say | Close


@dataclass(slots=True)
class _LaneState:
    running: bool = False
    response_id: str | None = None
    """None while the request is on its way to the store."""
    stop: Cancel | None = None
    """Asked before the id was known."""
    told: bool = False
    """The client knows the id, so that it can go on elsewhere."""
    turns: deque[Create | Resume | WireError] = field(default_factory=deque)


class Session:
    """What one socket has asked for and what it is still owed."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._opened = self._heard = self._refilled = now
        self._allowance = limits.messages_per_minute
        self._lanes: dict[Lane, _LaneState] = {None: _LaneState()}
        self._active = 0
        self._closed = False
        self._drained: float | None = None
        """When the client was to be sent elsewhere."""

    @property
    def busy(self) -> bool:
        """Whether a response runs."""
        return self._active > 0

    def receive(self, message: Command | Rejected, now: float) -> list[Effect]:
        """Take one message of the client."""
        if self._closed:
            return []
        self._heard = now
        if not self._within_rate(now):
            error = WireError(Code.RATE_LIMIT_EXCEEDED, retry_after=1)
            return self._refuse(message.stream_id, error.about(_event_id(message)))
        match message:
            case Rejected():
                return self._refuse(message.stream_id, message.error)
            case Cancel():
                return self._cancel(message)
            case Create() | Resume():
                return self._queue(message, now)
            case _:
                assert_never(message)

    def accepted(self, lane: Lane, response_id: str) -> list[Effect]:
        """Learn the id of the response that now runs on the lane."""
        state = self._lanes[lane]
        state.response_id = response_id
        cancel, state.stop = state.stop, None
        if cancel is None or self._closed:
            return []
        return [Stop(lane, response_id, cancel.event_id, own=True)]

    def refused(self, lane: Lane, error: WireError, now: float) -> list[Effect]:
        """Learn that the lane's create or resume came to nothing."""
        was_closed = self._closed
        effects = self.ended(lane, now)
        return [] if was_closed else [Say(lane, error), *effects]

    def not_stopped(self, stop: Stop, error: WireError) -> list[Effect]:
        """Learn that a response could not be ended."""
        if self._closed or (stop.own and error.code is Code.RESPONSE_NOT_ACTIVE):
            return []  # its ending is on the way to the lane
        if stop.own:
            return [Say(stop.lane, error.about(stop.event_id))]  # it is about what runs there
        return self._refuse(stop.lane, error.about(stop.event_id))

    def ended(self, lane: Lane, now: float) -> list[Effect]:
        """Learn that the lane's response was delivered to its ending."""
        state = self._lanes[lane]
        state.running, state.response_id, state.stop, state.told = False, None, None, False
        self._active -= 1
        return [] if self._closed else self._boundary(self._next(lane, now), now)

    def tick(self, now: float) -> list[Effect]:
        """Look at the clock."""
        if self._closed:
            return []
        if self._drained is not None:
            return self._go(now)
        if now - self._opened >= self._limits.connection:
            return self._close(CloseCode.RESTART if self.busy else CloseCode.DONE, "connection age")
        if not self.busy and now - self._heard >= self._limits.idle:
            return self._close(CloseCode.DONE, "idle")
        return self._boundary([], now)

    def begun(self, lane: Lane, now: float) -> list[Effect]:
        """Learn that the client was told the id of what runs on the lane."""
        self._lanes[lane].told = True
        return [] if self._closed or self._drained is None else self._go(now)

    def drain(self, now: float) -> list[Effect]:
        """Send the client elsewhere, as soon as it knows the ids of all that it asked for."""
        if self._closed:
            return []
        self._drained = now
        return self._go(now)

    def closed(self) -> None:
        """Learn that the socket is gone."""
        self._closed = True

    def _queue(self, command: Create | Resume, now: float) -> list[Effect]:
        lane = command.stream_id
        if lane not in self._lanes:
            if len(self._lanes) > self._limits.lanes:  # the default lane does not count
                return [Say(lane, WireError(Code.STREAM_LIMIT, event_id=command.event_id))]
            self._lanes[lane] = _LaneState()
        state = self._lanes[lane]
        if len(state.turns) >= self._limits.waiting:
            return self._refuse(lane, WireError(Code.LANE_BUSY, event_id=command.event_id))
        state.turns.append(command)
        return self._boundary(self._next(lane, now), now)

    def _next(self, lane: Lane, now: float) -> list[Effect]:
        """Give the lane its next turns, up to one that runs."""
        effects: list[Effect] = []
        state = self._lanes[lane]
        while state.turns and not state.running:
            turn = state.turns.popleft()
            effects.append(Say(lane, turn) if isinstance(turn, WireError) else self._begin(lane, turn, now))
        return effects

    def _begin(self, lane: Lane, command: Create | Resume, now: float) -> Effect:
        if self._drained is not None:
            return Say(lane, WireError(Code.SERVER_DRAINING, event_id=command.event_id, retry_after=1))
        if self._expired(now):
            return Say(lane, WireError(Code.CONNECTION_LIMIT, event_id=command.event_id))
        if self._active >= self._limits.active:
            return Say(lane, WireError(Code.TOO_MANY_ACTIVE, event_id=command.event_id))
        state = self._lanes[lane]
        state.running = True
        self._active += 1
        if isinstance(command, Create):
            return Submit(lane, command)
        state.response_id, state.told = command.response_id, True
        return Follow(lane, command)

    def _cancel(self, cancel: Cancel) -> list[Effect]:
        lane = cancel.stream_id
        if cancel.response_id is not None:
            return [self._stop_by_id(lane, cancel.response_id, cancel.event_id)]
        state = self._lanes.get(lane)
        if state is None or not state.running:
            return self._refuse(lane, WireError(Code.RESPONSE_NOT_ACTIVE, event_id=cancel.event_id))
        if state.response_id is None:
            state.stop = cancel
            return []
        return [Stop(lane, state.response_id, cancel.event_id, own=True)]

    def _stop_by_id(self, lane: Lane, response_id: str, event_id: str | None) -> Stop:
        for name, state in self._lanes.items():
            if state.response_id == response_id:
                return Stop(name, response_id, event_id, own=True)
        return Stop(lane, response_id, event_id, own=False)

    def _refuse(self, lane: Lane, error: WireError) -> list[Effect]:
        """Say an error that is not about the lane's running response: at once, or when its turn comes."""
        state = self._lanes.get(lane)
        if state is None or not state.running:
            return [Say(lane, error)]
        if len(state.turns) >= 2 * self._limits.waiting:
            return self._close(CloseCode.POLICY, "too many messages on a busy lane")
        state.turns.append(error)
        return []

    def _within_rate(self, now: float) -> bool:
        """Count a message against the allowance (a token bucket of one minute)."""
        rate = self._limits.messages_per_minute
        self._allowance = min(rate, self._allowance + (now - self._refilled) * rate / 60)
        self._refilled = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True

    def _expired(self, now: float) -> bool:
        return now - self._opened >= self._limits.session

    def _boundary(self, effects: list[Effect], now: float) -> list[Effect]:
        """Add the end of the socket to ``effects``, if it is time."""
        if self._drained is not None:
            return [*effects, *self._go(now)]
        if self.busy or not self._expired(now):
            return effects
        told = any(isinstance(each, Say) and each.error.code is Code.CONNECTION_LIMIT for each in effects)
        if not told:
            effects.append(Say(None, WireError(Code.CONNECTION_LIMIT)))
        return [*effects, *self._close(CloseCode.DONE, "session age")]

    def _go(self, now: float) -> list[Effect]:
        untold = any(state.running and not state.told for state in self._lanes.values())
        if self._drained is None or (untold and now - self._drained < TELL_SECONDS):
            return []
        return self._close(CloseCode.RESTART, "restarting; resumable")

    def _close(self, code: CloseCode, reason: str) -> list[Effect]:
        self._closed = True
        return [Close(code, reason)]


def _event_id(message: Command | Rejected) -> str | None:
    return message.error.event_id if isinstance(message, Rejected) else message.event_id
