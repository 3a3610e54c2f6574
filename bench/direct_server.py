"""Nothing between engine and client: the worker's engine in the very process that writes the WebSockets.

No log, no store, no hand-over, one process for all: a killed one takes every answer with it.  It serves as the peer of
the path benchmark only: `python -m bench.direct_server` with PORT, ECHO_RATE and SLOTS.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence

import uvloop
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from bench.stamped import StampedEcho
from gateway.frame import text_frame
from gateway.render import DeltaFrame
from shared.log import escape, new_response_id
from shared.request import Message, Sampling
from worker.engine_thread import EngineThread
from worker.engines.contract import Event, Order, Piece
from worker.engines.options import EchoOptions


class _Streams:
    """Who is sent what."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[asyncio.Transport, DeltaFrame]] = {}
        self._number = 0

    def add(self, response_id: str, transport: asyncio.Transport) -> None:
        """Send what is made of a response to a socket."""
        self._open[response_id] = transport, DeltaFrame(response_id, time.time_ns() // 1_000_000)

    def on_step(self, events: Sequence[Event]) -> None:
        """Write one step's tokens."""
        self._number += 1
        for event in events:
            transport, frame = self._open[event.response_id]
            if isinstance(event, Piece):
                transport.write(text_frame(frame.one(self._number, escape(event.text).encode())))


async def main() -> None:
    """Serve until killed."""
    options = EchoOptions(rate=float(os.environ["ECHO_RATE"]), slots=int(os.environ["SLOTS"]))
    engine, streams = EngineThread(lambda: StampedEcho(options)), _Streams()
    await engine.start(streams.on_step)

    async def relay(socket: ServerConnection) -> None:
        await socket.recv()
        response_id = new_response_id(0)
        streams.add(response_id, socket.transport)
        engine.submit(Order(response_id, (Message("user", "x"),), Sampling(max_tokens=100_000, seed=1)))
        await socket.wait_closed()
        engine.cancel(response_id)

    def models(connection: ServerConnection, request: Request) -> Response | None:
        return connection.respond(200, "echo") if request.path == "/v1/models" else None

    listening = serve(
        relay, "127.0.0.1", int(os.environ["PORT"]), compression=None, backlog=1024, process_request=models
    )
    async with listening:
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    uvloop.run(main())
