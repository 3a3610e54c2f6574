"""Servers of Redis's kind on free ports of loopback: alone, under Sentinel, as a Cluster; to be struck by tests."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from redis.connection import Connection
from redis.exceptions import RedisError

from tokenwire.valkey import find_program

PATIENCE = 20.0
_SLOTS = 16384
_ports = itertools.count(20000 + time.time_ns() // 1_000_000 % 20000)


def redis_program() -> Path:
    """The program of Debian's Redis 7.0; skips the test if there is none."""
    # The package redis-tools holds the server under another name, and starts no service of the system.
    found = shutil.which("redis-server") or shutil.which("redis-check-rdb")
    if found is None:
        pytest.skip("there is no redis-server: apt-get install redis-tools")
    return Path(found)


def valkey_program() -> Path:
    return find_program()


def free_port() -> int:
    """A port that is free, and so is the one 10000 above it, where a Cluster's nodes talk."""
    while True:
        port = 20000 + next(_ports) % 20000
        with socket.socket() as one, socket.socket() as other, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 10000))
            return port


def until(ask: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait for what a server gives no sign of."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(RedisError, OSError, IndexError, StopIteration):
            if ask():
                return
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


@dataclass
class Node:
    """One server process."""

    program: Path
    options: tuple[str, ...] = ()
    sentinel: bool = False
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tw-node-"))

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and return when it serves."""
        config = self.folder / "node.conf"
        config.touch()
        name = "redis-sentinel" if self.sentinel else "redis-server"
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(name, str(config), "--port", str(self.port), "--bind", "127.0.0.1"),
                    *("--dir", str(self.folder), "--daemonize", "no"),
                    *(() if self.sentinel else ("--save", "", "--maxmemory-policy", "noeviction")),
                    *(("--sentinel",) if self.sentinel else ()),
                    *self.options,
                ],
                executable=self.program,
                stdout=log,
                stderr=log,
            )
        until(self._serves)

    def _serves(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
        return bool(self.ask("PING"))

    def ask(self, *arguments: object):
        """Send one command and return its reply as it came."""
        connection = Connection(host="127.0.0.1", port=self.port, socket_timeout=PATIENCE)
        try:
            connection.connect()
            connection.send_command(*arguments)
            return connection.read_response()
        finally:
            connection.disconnect()

    def info(self, name: str) -> str:
        """One line of INFO."""
        lines = self.ask("INFO").decode().splitlines()
        return next(line.partition(":")[2] for line in lines if line.startswith(f"{name}:"))

    def kill(self) -> None:
        """SIGKILL, as a lost machine does."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
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
def alone(program: Path, *options: str) -> Iterator[Node]:
    """Run one server."""
    node = Node(program, options)
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
        return f"redis+sentinel://{self.sentinel.address}/main"

    def named(self) -> int:
        """Port of the server that the Sentinel names as primary."""
        return int(self.sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")[1])


@contextlib.contextmanager
def under_sentinel(program: Path, down_after_ms: int = 500) -> Iterator[Watched]:
    """Run a primary and a replica under a Sentinel that has seen both."""
    options = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
    primary = Node(program, options)
    replica = Node(program, (*options, "--replicaof", f"127.0.0.1 {primary.port}"))
    sentinel = Node(program, sentinel=True)
    with running(primary, replica, sentinel):
        primary.ask("SET", "written", 1)
        until(lambda: replica.ask("GET", "written"))  # "online" is said sooner, when nothing is sent yet
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

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(node.address for node in self.nodes)

    def settle(self) -> None:
        """Wait until all nodes agree on who has which slot."""

        def agreed() -> bool:
            views = {str(sorted(node.ask("CLUSTER", "SLOTS"), key=str)) for node in self.nodes}
            return len(views) == 1

        until(agreed)

    def holder(self, slot: int) -> Node:
        """The node that has a slot, as it says itself."""
        for node in self.nodes:
            mine = node.ask("CLUSTER", "MYID")
            for first, last, owner, *_ in node.ask("CLUSTER", "SLOTS"):
                if first <= slot <= last and owner[2] == mine:
                    return node
        raise AssertionError(f"nobody has slot {slot}")

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
        with contextlib.suppress(RedisError):  # it lies elsewhere
            return node.ask("SET", f"written-{n}", 1) == b"OK"
    raise AssertionError


@contextlib.contextmanager
def as_cluster(program: Path, *options: str, count: int = 3, replicas: int = 0) -> Iterator[Nodes]:
    """Run a Cluster of ``count`` nodes, and a replica of each of the first ``replicas``."""
    common = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1500", *options)
    common += ("--repl-diskless-sync-delay", "0")
    nodes = [Node(program, common) for _ in range(count)]
    copies = [Node(program, common) for _ in range(replicas)]
    with running(*nodes, *copies):
        for n, node in enumerate(nodes):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
            node.ask("CLUSTER", "ADDSLOTSRANGE", n * _SLOTS // count, (n + 1) * _SLOTS // count - 1)
        for node in (*nodes[1:], *copies):
            nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", node.port)
        for node in (*nodes, *copies):
            until(lambda node=node: b"cluster_state:ok" in node.ask("CLUSTER", "INFO"))
        for primary, copy in zip(nodes, copies, strict=False):
            name = primary.ask("CLUSTER", "MYID").decode()
            until(lambda copy=copy, name=name: copy.ask("CLUSTER", "REPLICATE", name))
            until(lambda primary=primary: write_something(primary))
            until(lambda copy=copy: copy.info("db0"))  # "online" is said sooner, when nothing is sent yet
        yield Nodes(nodes)
