"""What the benchmarks of streams are run against: all of Tokenwire, and an engine with nothing before it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.request import urlopen

from bench.measure import free_port, python, valkey


@dataclass(frozen=True, slots=True)
class Served:
    """A server of stamped tokens that answers."""

    port: int
    pid: int
    """Of the process that holds the sockets."""


Way = Callable[[int, int], contextlib.AbstractContextManager[Served]]
"""Starts it for so many streams of so many tokens a second."""


@contextlib.contextmanager
def nothing_between(streams: int, rate: int) -> Iterator[Served]:
    """Run the engine in the process that writes the WebSockets."""
    port = free_port()
    environ = {"PORT": str(port), "ECHO_RATE": str(rate), "SLOTS": str(streams)}
    with python("bench.direct_server", environ) as pid:
        _wait_for_model(port)
        yield Served(port, pid)


@contextlib.contextmanager
def tokenwire(streams: int, rate: int) -> Iterator[Served]:
    """Run a store, a worker and a gateway."""
    port = free_port()
    with valkey() as (url, _), contextlib.ExitStack() as stack:
        common = {"REDIS_URL": url, "PROBE_PORT": "0"}
        work = {"ENGINE": "echo", "ECHO_RATE": str(rate), "SLOTS": str(streams), "RESERVE_SLOTS": "0"}
        door = {"PORT": str(port), "WAITING_BOUND": str(streams), "HANDSHAKES_PER_SECOND": "100000"}
        stack.enter_context(python("bench.stamped", common | work))
        pid = stack.enter_context(python("gateway", common | door))
        _wait_for_model(port)
        yield Served(port, pid)


def _wait_for_model(port: int, seconds: float = 60.0) -> None:
    """Ask until the engine's model is served.  Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with (
            contextlib.suppress(OSError),
            urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5) as answer,
        ):
            if b"echo" in answer.read():
                return
        time.sleep(0.05)
    raise TimeoutError(f"nobody serves the model on port {port}")
