"""Servers of Redis's kind on free ports of loopback: alone, under Sentinel, as a Cluster; made to be struck.

Everything here blocks its thread.  What never comes true raises CommandError.  The three shapes are one file, since
each is made of the one before: a node, nodes that are watched, nodes that share slots.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from shared.store.ask import UNANSWERED, ask
from tokenwire import tether
from tokenwire.errors import FAILED, CommandError

PATIENCE = 20.0
"""Seconds for which a server is waited for."""
_SLOTS = 16384
# Both ranges lie below the one that Linux takes a client's ports from (32768 on): a port of those may be taken by
# any connection between the look and the start, or while a server is down.
_FIRST_PORT, _BUS = 10000, 10000
_ports = itertools.count(time.time_ns() // 1_000_000)


def free_port() -> int:
    """Return a port that is free, and so is the one 10000 above it, where a Cluster's nodes talk.

    Ten thousand of one process are all different, and none is the upper one of another.
    """
    while True:
        port = _FIRST_PORT + next(_ports) % _BUS
        with socket.socket() as one, socket.socket() as other, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + _BUS))
            return port


def until(true: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait for what a server gives no sign of.  Raises CommandError if it never comes true."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(*UNANSWERED, IndexError, StopIteration):
            if true():
                return
        if time.monotonic() > deadline:
            raise CommandError(f"A server did not do in {seconds:g} s what was waited for.", FAILED)
        time.sleep(0.02)


@dataclass
class Node:
    """One server process."""

    program: Path
    options: tuple[str, ...] = ()
    sentinel: bool = False
    tethered: bool = False
    """It dies with the thread that starts it, and so with its process, however that ends."""
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tw-node-"))
        # Debian's package redis-tools holds the server under another name; it goes by what it is called.
        self._called = self.folder / ("redis-sentinel" if self.sentinel else "redis-server")
        self._called.symlink_to(self.program.absolute())

    @property
    def url(self) -> str:
        """Its URL."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and return when it serves."""
        config = self.folder / "node.conf"
        config.touch()
        argv = [
            *(str(self._called), str(config), "--port", str(self.port), "--bind", "127.0.0.1"),
            *("--dir", str(self.folder), "--daemonize", "no"),
            *(() if self.sentinel else ("--save", "", "--maxmemory-policy", "noeviction")),
            *(("--sentinel",) if self.sentinel else ()),
            *self.options,
        ]
        if self.tethered:
            argv = tether.command(os.getpid(), argv, signal.SIGKILL)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log)  # noqa: S603 - a server, and its own options
        until(self._serves)

    def _serves(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            said = (self.folder / "log").read_text()[-2000:]
            raise CommandError(f"The server did not start: {said}", FAILED)
        return bool(self.ask("PING"))

    def ask(self, *arguments: object) -> Any:
        """Send one command and return its reply as it came.  Raises RedisError or OSError."""
        return ask("127.0.0.1", self.port, *arguments, seconds=PATIENCE)

    def info(self, name: str) -> str:
        """Return one line of INFO."""
        lines = self.ask("INFO").decode().splitlines()
        return str(next(line.partition(":")[2] for line in lines if line.startswith(f"{name}:")))

    def kill(self) -> None:
        """SIGKILL, as a lost machine does."""
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGKILL)
        self._ended()

    def restart(self) -> None:
        """Stop it in order (SIGTERM), as a deploy does, and start it again."""
        self._signal(signal.SIGTERM)
        self._ended()
        self.start()

    def freeze(self) -> None:
        """SIGSTOP: it answers nobody."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def revive(self) -> None:
        """Whatever struck it, let it serve again."""
        self.thaw()
        if self.process is not None and self.process.poll() is not None:
            self.start()

    def cut_tail(self, size: int) -> bytes:
        """Cut bytes off the dead server's AOF, as a power cut does; return what is left."""
        [aof] = sorted((self.folder / "appendonlydir").glob("*.incr.aof"))[-1:]
        left = aof.read_bytes()[:-size]
        aof.write_bytes(left)
        return left

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)

    def _ended(self) -> None:
        if self.process is not None:
            self.process.wait()

    def remove(self) -> None:
        """End it and leave nothing behind."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def running(*nodes: Node) -> Iterator[None]:
    """Run servers until the block ends."""
    try:
        for node in nodes:
            node.start()
        yield
    finally:
        for node in nodes:
            node.remove()


@contextlib.contextmanager
def alone(program: Path, *options: str, tethered: bool = False) -> Iterator[Node]:
    """Run one server."""
    node = Node(program, options, tethered=tethered)
    with running(node):
        yield node


@dataclass
class Watched:
    """A primary, its replica, and one Sentinel that watches them."""

    primary: Node
    replica: Node
    sentinel: Node

    @property
    def url(self) -> str:
        """Its URL."""
        return f"redis+sentinel://{self.sentinel.address}/main"

    def promoted(self) -> bool:
        """Say whether the Sentinel has named the replica, and the replica has taken over."""
        return self.named() == self.replica.port and self.replica.info("role") == "master"

    def named(self) -> int:
        """Return the port of the server that the Sentinel names as primary."""
        return int(self.sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")[1])


@contextlib.contextmanager
def under_sentinel(program: Path, down_after_ms: int = 500, *, tethered: bool = False) -> Iterator[Watched]:
    """Run a primary and a replica under a Sentinel that has seen both."""
    options = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
    primary = Node(program, options, tethered=tethered)
    copying = (*options, "--replicaof", f"127.0.0.1 {primary.port}")
    replica = Node(program, copying, tethered=tethered)
    sentinel = Node(program, sentinel=True, tethered=tethered)
    with running(primary, replica, sentinel):
        primary.ask("SET", "written", 1)
        until(lambda: replica.ask("GET", "written"))  # "online" is said sooner, when nothing is sent yet
        primary.ask("DEL", "written")
        # It looks every ten seconds, tells a former primary after eight, and does nothing for thirty once it
        # was held up for two: too long for a test.
        for name, value in (("INFO-PERIOD", 200), ("PUBLISH-PERIOD", 200), ("TILT-TRIGGER", 60_000)):
            sentinel.ask("SENTINEL", "DEBUG", name, value)
        sentinel.ask("SENTINEL", "MONITOR", "main", "127.0.0.1", primary.port, 1)
        sentinel.ask("SENTINEL", "SET", "main", "down-after-milliseconds", down_after_ms)
        sentinel.ask("SENTINEL", "SET", "main", "failover-timeout", 3000)
        until(lambda: sentinel.ask("SENTINEL", "REPLICAS", "main")[0][b"master-link-status"] == b"ok")
        yield Watched(primary, replica, sentinel)


@dataclass
class Nodes:
    """A Cluster."""

    nodes: list[Node]
    """Primaries, as it began."""
    replicas: Sequence[Node] = ()
    """Of the first nodes, one each."""

    @property
    def url(self) -> str:
        """Its URL."""
        return "redis+cluster://" + ",".join(node.address for node in self.nodes)

    def settle(self) -> None:
        """Wait until all nodes agree on who has which slot."""

        def agreed() -> bool:
            views = {str(sorted(node.ask("CLUSTER", "SLOTS"), key=str)) for node in self.nodes}
            return len(views) == 1

        until(agreed)

    def holder(self, slot: int) -> Node:
        """Return the node that has a slot, as it says itself.  Raises CommandError if none has."""
        for node in self.nodes:
            mine = node.ask("CLUSTER", "MYID")
            for first, last, owner, *_ in node.ask("CLUSTER", "SLOTS"):
                if first <= slot <= last and owner[2] == mine:
                    return node
        raise CommandError(f"Nobody has slot {slot}.", FAILED)

    def begin(self, slot: int, target: Node) -> tuple[int, Node, Node]:
        """Put a slot on its way."""
        source = self.holder(slot)
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.ask("CLUSTER", "MYID"))
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.ask("CLUSTER", "MYID"))
        return slot, source, target

    def finish(self, begun: tuple[int, Node, Node]) -> None:
        """Move the keys, some at a time, and tell everybody."""
        slot, source, target = begun
        target_id = target.ask("CLUSTER", "MYID")
        while names := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 5):
            source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *names)
        for node in (target, source, *self.nodes):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", target_id)

    def move(self, slot: int, target: Node) -> None:
        """Move a slot with its keys, as redis-cli --cluster reshard does."""
        self.finish(self.begin(slot, target))


def write_something(node: Node) -> bool:
    """Write a key that lies with this node of a Cluster."""
    for n in itertools.count():
        with contextlib.suppress(*UNANSWERED):  # it lies elsewhere
            return bool(node.ask("SET", f"written-{n}", 1) == b"OK")
    return False


def _is_settled(node: Node) -> bool:
    return b"cluster_state:ok" in node.ask("CLUSTER", "INFO")


@contextlib.contextmanager
def as_cluster(
    program: Path, *options: str, count: int = 3, replicas: int = 0, tethered: bool = False
) -> Iterator[Nodes]:
    """Run a Cluster of ``count`` nodes, and a replica of each of the first ``replicas``."""
    common = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1500", *options)
    common += ("--repl-diskless-sync-delay", "0")
    nodes = [Node(program, common, tethered=tethered) for _ in range(count)]
    copies = [Node(program, common, tethered=tethered) for _ in range(replicas)]
    with running(*nodes, *copies):
        for n, node in enumerate(nodes):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
            node.ask("CLUSTER", "ADDSLOTSRANGE", n * _SLOTS // count, (n + 1) * _SLOTS // count - 1)
        for node in (*nodes[1:], *copies):
            nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", node.port)
        for node in (*nodes, *copies):
            until(partial(_is_settled, node))
        for primary, copy in zip(nodes, copies, strict=False):
            until(partial(copy.ask, "CLUSTER", "REPLICATE", primary.ask("CLUSTER", "MYID").decode()))
            until(partial(write_something, primary))
            until(partial(copy.info, "db0"))  # "online" is said sooner, when nothing is sent yet
        yield Nodes(nodes, copies)
