"""What one socket is sent: at once while its transport takes bytes, else through the outbox, in order."""

from __future__ import annotations

from collections.abc import Callable

from gateway.door import DoorConnection
from gateway.metrics import Metrics, Waiting
from gateway.outbox import Outbox
from gateway.render import DeltaFrame


class Sender:
    """The way out to one client; a ``key`` names the attachment that an event belongs to."""

    def __init__(
        self,
        socket: DoorConnection,
        clock: Callable[[], float],
        metrics: Metrics,
        cut: Callable[[], None],
    ) -> None:
        """``cut`` closes the socket; called once if its client takes too little."""
        self._socket = socket
        self._clock = clock
        self._metrics = metrics
        self._cut = cut
        self._outbox = Outbox()
        self._waiting = Waiting(metrics)
        self._direct = True
        """The transport takes bytes and nothing waits before them."""
        self._closing = False
        socket.on_writable = self._flush

    @property
    def waits(self) -> bool:
        """Whether something waits for the transport."""
        return bool(self._outbox)

    def event(self, key: object, payload: bytes) -> None:
        """Send an event that is no delta."""
        if self._direct and not self._socket.paused:
            self._socket.write_text(payload)
        elif not self._closing:
            self._outbox.frame(key, payload, self._clock())
            self._kept()

    def delta(self, key: object, frame: DeltaFrame, number: int, text: bytes) -> None:
        """Send a delta at once, or have it wait and perhaps merge."""
        if self._direct and not self._socket.paused:
            self._socket.write_text(frame.one(number, text))
        else:
            self._keep(key, frame, number, number, text)

    def joined(self, key: object, frame: DeltaFrame, first: int, last: int, text: bytes) -> None:
        """Send the deltas ``first`` to ``last`` as one event, as :meth:`delta` does."""
        if self._direct and not self._socket.paused:
            self._socket.write_text(frame.merged(first, last, text))
        else:
            self._keep(key, frame, first, last, text)

    def look(self, now: float) -> None:
        """Cut a client that takes too little."""
        if self._outbox.stuck(now) and not self._closing:
            self._closing = True
            self._metrics.slow_closes.inc()
            self._cut()

    def close(self) -> None:
        """Keep nothing more for later: the socket closes, and the log has it."""
        self._closing = True

    def end(self) -> None:
        """Let go of what waits: the socket is gone."""
        self._socket.on_writable = None
        self._outbox.clear()
        self._waiting.show(self._outbox)

    def _keep(self, key: object, frame: DeltaFrame, first: int, last: int, text: bytes) -> None:
        if self._closing:
            return  # the log has it
        self._outbox.delta(key, frame, first, last, text, self._clock())
        self._kept()
        self.look(self._clock())

    def _kept(self) -> None:
        self._direct = False
        self._waiting.show(self._outbox)

    def _flush(self) -> None:
        """Write what waits while the transport takes it."""
        while not self._socket.paused:
            payload = self._outbox.take(self._clock())
            if payload is None:
                self._direct = True
                break
            self._socket.write_text(payload)
        self._waiting.show(self._outbox)
