"""What is seen of a process from outside: its log lines, its probes, and the buckets of its metrics.

A probe must answer while the event loop hangs, so it lives in threads of its own.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, TextIO
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

from shared.settings import PortTaken

# Thresholds of objectives (0.5 s, 1 s, 2 s to the first token; 50 ms, 100 ms between tokens) lie exactly on
# a bucket: an alert can only ask at a bucket's edge.
TTFT_BUCKETS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
"""Seconds to the first token, vLLM's edges and 2 s."""

ITL_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05),
    *(0.075, 0.1, 0.15, 0.2, 0.25, 0.5, 1.0, 2.5, 5.0),
)
"""Seconds between tokens; a small model makes one in a few milliseconds."""

DURATION_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Seconds of a whole response, or of waiting for a worker."""


_LATENESS_SECONDS = 0.25


class Log:
    """One JSON line per event.  Never give it prompts, tokens or keys."""

    def __init__(self, stream: TextIO, constants: dict[str, object]) -> None:
        self._stream = stream
        self._constants = constants
        self._lost = 0
        self._lock = threading.Lock()  # the engine thread logs too

    def info(self, event: str, response_id: str = "", **fields: object) -> None:
        """Log what happens in a normal life."""
        self._write("info", event, response_id, fields)

    def warning(self, event: str, response_id: str = "", **fields: object) -> None:
        """Log what somebody may want to look at."""
        self._write("warning", event, response_id, fields)

    def error(
        self, event: str, response_id: str = "", *, error: BaseException | None = None, **fields: object
    ) -> None:
        """Log what should not have happened, with the exception's traceback if there is one."""
        if error is not None:
            fields |= {
                "error": f"{type(error).__name__}: {error}",
                "traceback": "".join(traceback.format_exception(error)),
            }
        self._write("error", event, response_id, fields)

    def _write(self, level: str, event: str, response_id: str, fields: dict[str, object]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"ts": now, "level": level, **self._constants, "event": event}
        if response_id:
            line["response_id"] = response_id
        with self._lock:
            if self._lost:
                line["lost_lines"] = self._lost
            text = json.dumps(line | fields, ensure_ascii=False, default=str, separators=(",", ":"))
            try:
                self._stream.write(text + "\n")
                self._stream.flush()
            except OSError:  # a full disk or a closed pipe must not end answers; the next line tells of it
                self._lost += 1
            else:
                self._lost = 0


def make_logger(tier: str, stream: TextIO, **constants: object) -> Log:
    """Return a log whose every line carries ``tier`` and the constants."""
    return Log(stream, {"tier": tier, **constants})


class Probes:
    """Serves ``/livez``, ``/readyz`` and ``/metrics`` on an internal port.

    ``ready`` returns None, or a sentence saying what is missing; it is called on a thread of the probes.
    The process is live while somebody calls :meth:`beat` at least every ``stale_after`` seconds.
    """

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        ready: Callable[[], str | None],
        stale_after: float,
    ) -> None:
        self._address = (host, port)
        self._metrics: Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]] = make_wsgi_app(registry)
        self._ready = ready
        self._stale_after = stale_after
        self._beaten = time.monotonic()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def beat(self) -> None:
        """Say that the event loop turns."""
        self._beaten = time.monotonic()

    async def pulse(self) -> None:
        """Beat on the running event loop until cancelled."""
        while True:
            self.beat()
            await asyncio.sleep(self._stale_after / 4)

    def start(self) -> int:
        """Listen, and return the port (any free one if the port given is 0).

        Raises PortTaken if it cannot be had.
        """
        try:
            self._server = _Server(self._address, self._answer)
        except OSError as error:
            raise PortTaken("PROBE_", *self._address, error) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="probes", daemon=True
        )
        self._thread.start()
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Stop listening; harmless if nothing was started."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
        self._server = self._thread = None

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        match environ.get("PATH_INFO"):
            case "/livez":
                problem = self._staleness()
            case "/readyz":
                problem = self._ready()
            case "/metrics":
                return self._metrics(environ, start_response)
            case _:
                return _reply(start_response, "404 Not Found", "There are /livez, /readyz and /metrics.")
        if problem is None:
            return _reply(start_response, "200 OK", "ok")
        return _reply(start_response, "503 Service Unavailable", problem)

    def _staleness(self) -> str | None:
        silent = time.monotonic() - self._beaten
        if silent <= self._stale_after:
            return None
        return f"The event loop has not turned for {silent:.1f} s."


def address(host: str, port: int) -> str:
    """Return where others find an internal port: by this machine's name if it listens on all addresses."""
    return f"{socket.gethostname() if host in ('0.0.0.0', '::', '') else host}:{port}"  # noqa: S104 - compared


async def watch_lateness(late: Callable[[float], None]) -> None:
    """Tell, until cancelled, how many seconds too late the running event loop wakes a sleeper."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _LATENESS_SECONDS
        await asyncio.sleep(_LATENESS_SECONDS)
        late(loop.time() - due)


def _reply(start_response: StartResponse, status: str, sentence: str) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")])
    return [f"{sentence}\n".encode()]


class _Handler(WSGIRequestHandler):
    timeout = 5.0  # a prober that sends nothing holds its thread no longer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        """Say nothing: probes come every few seconds."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # a probe in flight never holds up the end of the process

    def __init__(
        self, address: tuple[str, int], app: Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]
    ) -> None:
        super().__init__(address, _Handler)
        self.set_app(app)

    def server_bind(self) -> None:
        """Bind without the name lookup of HTTPServer, which may hang without a name server."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]  # AF_INET
        self.setup_environ()
