"""Where the server is: one URL for a server alone, one under Sentinel, and a Cluster.

| URL | server |
|---|---|
| ``redis://``, ``rediss://``, ``unix://`` | one server |
| ``redis+sentinel://host:port,host:port/service`` | the primary that the Sentinels name at the moment |
| ``redis+cluster://host:port,host:port`` | a Cluster, found by any of its nodes |

``rediss+`` in front instead of ``redis+`` speaks TLS to all of them.  User, password and options stand where
they stand in a ``redis://`` URL; ``sentinel_username`` and ``sentinel_password`` are options of their own, and
``volatile=1`` says that the server is meant to keep nothing on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

from redis.asyncio.connection import Connection, parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from shared.settings import SettingsError

Options = Mapping[str, Any]
"""What redis-py's connections are made from: host and port or path, credentials, TLS."""

_FORMS = (
    "redis://host:port, rediss://host:port, unix:///path, redis+sentinel://host:port,host:port/service "
    "or redis+cluster://host:port,host:port"
)
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_SENTINEL_PORT = 26379
_SENTINEL_SECONDS = 1.0
"""What one Sentinel gets to answer before the next is asked."""
_CANCEL_SECONDS = 0.1
"""Between two cancellations of what is being ended."""


class BadAddress(SettingsError):
    """The URL cannot be used; its text is a sentence that never shows the URL (it may hold a password)."""

    def __init__(self, sentence: str) -> None:
        super().__init__([sentence])


class Kind(StrEnum):
    """How the store is served."""

    ALONE = "alone"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Topology:
    """What a URL says."""

    kind: Kind
    hosts: tuple[Options, ...]
    service: str = ""
    """Under Sentinel: the name of the primary."""
    volatile: bool = False
    """The server keeps nothing on disk, and that is meant so (option ``volatile=1``)."""


class Place(Protocol):
    """Where one connection goes to; asked anew for each."""

    @property
    def moves(self) -> bool:
        """Whether another server may stand there at another time."""

    async def find(self) -> Options:
        """Say what to connect to now.  Raises OSError or RedisError if nobody knows."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """A server at a fixed address."""

    options: Options
    moves: bool = False

    async def find(self) -> Options:
        """Return the address."""
        return self.options


@dataclass(frozen=True, slots=True)
class Primary:
    """The primary of a service, as Sentinels know it."""

    sentinels: Sequence[Options]
    service: str
    moves: bool = True

    async def find(self) -> Options:
        """Ask one Sentinel after the other."""
        problem = "no Sentinel answers"
        for sentinel in self.sentinels:
            try:
                async with asyncio.timeout(_SENTINEL_SECONDS):
                    address = await _ask_sentinel(sentinel, self.service)
            except (RedisError, OSError, TimeoutError):
                continue
            if address is not None:
                return _without_sentinel_options(sentinel) | {"host": address[0], "port": address[1]}
            problem = f"no Sentinel knows a primary called {self.service!r}"
        raise RedisConnectionError(problem)


def parse(url: str) -> Topology:
    """Read a URL.  Raises BadAddress with a sentence."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise BadAddress(f"REDIS_URL is no URL: use {_FORMS}.") from None
    scheme, _, kind = parts.scheme.partition("+")
    path = parts.path.strip("/")
    if not kind:
        if scheme in ("redis", "rediss"):  # a socket's path is no database
            _check_database(path)
        return _with_volatile(Topology(Kind.ALONE, (_options(url),)))
    if kind not in (Kind.SENTINEL, Kind.CLUSTER) or scheme not in ("redis", "rediss"):
        raise BadAddress(f"REDIS_URL has the scheme {parts.scheme!r}: use {_FORMS}.")
    service, _, database = path.partition("/")
    _check_database(database)
    hosts = _hosts(scheme, parts, database)
    if kind == Kind.CLUSTER:
        if service:
            raise BadAddress("REDIS_URL names a database, but a Cluster has only one: leave the path away.")
        return _with_volatile(Topology(Kind.CLUSTER, hosts))
    if not service:
        raise BadAddress("REDIS_URL names no service: write redis+sentinel://host:port/service.")
    return _with_volatile(Topology(Kind.SENTINEL, hosts, service))


def _check_database(word: str) -> None:
    """Raise BadAddress for what is no number: redis-py would take the first database in its place."""
    if word and not (word.isascii() and word.isdigit()):
        raise BadAddress("REDIS_URL names a database that is no number: write it as in redis://host:6379/0.")


def _hosts(scheme: str, parts: SplitResult, database: str) -> tuple[Options, ...]:
    login, at, names = parts.netloc.rpartition("@")
    hosts = tuple(
        _options(f"{scheme}://{login}{at}{name}/{database}?{parts.query}") for name in names.split(",")
    )
    if not all(host.get("host") for host in hosts):
        raise BadAddress(f"REDIS_URL names no host, or an empty one: use {_FORMS}.")
    return hosts


def _with_volatile(topology: Topology) -> Topology:
    """Take our own option out of redis-py's, and see that it can do something with the others."""
    hosts = tuple({k: v for k, v in host.items() if k != "volatile"} for host in topology.hosts)
    for host in hosts:
        _check(host)
    word = topology.hosts[0].get("volatile", "0")
    if word not in ("0", "1"):
        raise BadAddress(
            "REDIS_URL has volatile, which is neither 0 nor 1: write volatile=1, or leave it away."
        )
    return replace(topology, hosts=hosts, volatile=word == "1")


def _check(options: Options) -> None:
    """Raise BadAddress for options that no connection can be made with: the first one to be made would fail."""
    try:
        _connection(_without_sentinel_options(options), _SENTINEL_SECONDS)
    except (TypeError, ValueError, RedisError) as error:
        raise BadAddress(
            "REDIS_URL has an option that redis-py does not know, or not with this value."
        ) from error
    for name in _FILES:
        if name in options and not Path(options[name]).is_file():
            raise BadAddress(f"REDIS_URL has {name}, which names no file: write the path of a PEM file.")


def place_of(topology: Topology) -> Place:
    """Return where the one server is.  Raises BadAddress for a Cluster: it has many."""
    if topology.kind is Kind.CLUSTER:
        raise BadAddress("A Cluster is not at one place.")
    if topology.kind is Kind.SENTINEL:
        return Primary(
            [{"port": _SENTINEL_PORT} | dict(options) for options in topology.hosts], topology.service
        )
    return Fixed(topology.hosts[0])


async def open_connection(place: Place, seconds: float) -> Connection:
    """Connect to what stands there now; where it may move, make sure that it is a primary.

    Raises OSError, TimeoutError or RedisError.
    """
    connection = _connection(await place.find(), seconds)
    try:
        await connection.connect()  # type: ignore[no-untyped-call] # redis-py types it so
        if place.moves:
            await _is_primary(connection)
    except BaseException:
        await _close(connection)
        raise
    return connection


async def ended(task: asyncio.Task[None]) -> None:
    """Cancel a task that opens connections, and wait for its end; raises what it has raised.

    It is cancelled again and again: what swallowed the first cancellation would go on, maybe for ever.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_CANCEL_SECONDS)
    if not task.cancelled():
        task.result()


async def _is_primary(connection: Connection) -> None:
    await connection.send_command("ROLE")
    role = await connection.read_response()
    if role[0] != b"master":
        raise RedisConnectionError("the server that Sentinel names is not the primary yet")


async def _ask_sentinel(options: Options, service: str) -> tuple[str, int] | None:
    login = {
        name.removeprefix("sentinel_"): value
        for name, value in options.items()
        if name in ("sentinel_username", "sentinel_password")
    }
    bare = {
        name: value
        for name, value in _without_sentinel_options(options).items()
        if name not in ("username", "password", "db")
    }
    connection = _connection(bare | login, _SENTINEL_SECONDS)
    try:
        await connection.connect()  # type: ignore[no-untyped-call] # redis-py types it so
        await connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
        reply = await connection.read_response()
    finally:
        await _close(connection)
    return (reply[0].decode(), int(reply[1])) if reply else None


def _connection(options: Options, seconds: float) -> Connection:
    arguments = dict(options)
    kind: type[Connection] = arguments.pop("connection_class", Connection)
    # With a time-out of its own it sends by asyncio.wait_for, which swallows a cancellation in Python 3.11: ours
    # around it would be lost with it.
    arguments |= {"socket_timeout": None, "socket_connect_timeout": seconds}
    return kind(**arguments, retry=None, retry_on_error=[], health_check_interval=0)


async def _close(connection: Connection) -> None:
    with contextlib.suppress(RedisError, OSError, TimeoutError):
        await connection.disconnect(nowait=True)


def _without_sentinel_options(options: Options) -> dict[str, Any]:
    return {name: value for name, value in options.items() if not name.startswith("sentinel_")}


def _options(url: str) -> Options:
    try:
        options: Options = parse_url(url)
    except ValueError:
        raise BadAddress(f"REDIS_URL cannot be read: use {_FORMS}.") from None
    return options
