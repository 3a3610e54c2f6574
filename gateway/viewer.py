"""A client of the HTTP door that watches a response: as a stream, or until it is one whole object."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.attachment import Detach, Reader
from gateway.desk import Desk
from gateway.dialect import Dialect
from gateway.principal import Principal
from gateway.streams import EventStream, StreamReader
from gateway.times import Viewing
from gateway.whole_response import Collector, Shape, WholeResponse


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who watches which response, and the times that are taken for it."""

    desk: Desk
    principal: Principal
    watcher: str
    response_id: str
    times: Viewing
    after: int = -1
    """The last event that the client has."""
    asked: bool = False
    """The client has just asked for the response."""

    def stream(self, dialect: Dialect, *, merge: bool) -> EventStream:
        """Answer with events as they come; ``merge``: several deltas may be one."""
        desk = self.desk
        reader = StreamReader(dialect, desk.clock, desk.metrics, merge=merge)
        return EventStream(reader, self._attach(reader), desk.metrics, desk.drain)

    def whole(self, shape: Shape, *, keyed: bool) -> WholeResponse:
        """Answer when the response has ended; ``keyed``: its client has an idempotency key to come back with."""
        collector = Collector()
        return WholeResponse(collector, self._attach(collector), self.desk.drain, keyed=keyed, shape=shape)

    def _attach(self, reader: Reader) -> Detach:
        hub = self.desk.hub
        attachment = hub.attach(
            self.response_id,
            self.principal.name,
            reader,
            self.times,
            watcher=self.watcher,
            after=self.after,
            asked=self.asked,
        )
        return lambda left: hub.detach(attachment, left=left)
