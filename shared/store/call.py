"""A command on its way to a server, and how its reply settles it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import hiredis
from redis.asyncio.connection import Connection
from redis.exceptions import (
    AskError,
    ClusterDownError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from shared.store.contract import StoreUnavailable
from shared.store.scripts import Script


class Elsewhere(StoreUnavailable):
    """A node of a Cluster does not serve this slot (MOVED, or ASK: only while the slot is on its way)."""

    def __init__(self, host: str, port: int, *, asking: bool) -> None:
        super().__init__("the slot lies at another node: is REDIS_URL a redis+cluster:// one?")
        self.address = (host, port)
        self.asking = asking


class Unsettled(StoreUnavailable):
    """The slot is on its way between two nodes, or has no node now; nothing was done."""


class ServerError(Exception):
    """The server answered with an error of its own, e.g. that it is out of memory."""

    @property
    def out_of_memory(self) -> bool:
        """Whether the server refused to write because its memory is full."""
        return str(self).startswith(("OOM", "command not allowed when used memory"))


@dataclass(slots=True)
class Call:
    """A command, who waits for its reply, and the number of the connection on which alone it may go out.

    It is encoded when it is made, so what cannot be encoded is its caller's error and nobody else's.  hiredis
    does it: redis-py's own way was half of what logging a token cost a worker.
    """

    arguments: tuple[Any, ...]
    future: asyncio.Future[Any]
    link: int | None
    script: Script | None = None
    packed: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.packed = hiredis.pack_command(self.arguments)

    def fail(self, error: Exception) -> None:
        """Tell who waits, if anybody still does."""
        if not self.future.done():
            self.future.set_exception(error)

    async def settle(self, connection: Connection) -> bool:
        """Read the reply for who waits; False if the server does not know the script.

        Raises ReadOnlyError if the server has become a replica: the link must find the new primary.
        """
        try:
            reply = await connection.read_response(disconnect_on_error=False)
        except NoScriptError:
            return False
        except ReadOnlyError:
            raise
        except ResponseError as error:
            self.fail(_judge(error))
        else:
            if not self.future.done():
                self.future.set_result(reply)
        return True

    def with_source(self) -> Call:
        """Return it for a server that does not know the script's digest."""
        if self.script is None:  # the server says NOSCRIPT to scripts alone
            raise RedisError(f"NOSCRIPT in reply to {self.arguments[0]}")
        return Call(("EVAL", self.script.source, *self.arguments[2:]), self.future, self.link)


_PASSING = ("NOREPLICAS", "MISCONF", "BUSY", "MASTERDOWN", "UNBLOCKED")
"""Beginnings of errors that say that the server cannot do it now; nothing was done."""


def _judge(error: ResponseError) -> StoreUnavailable | ServerError:
    if isinstance(error, AskError):  # MOVED is one too
        return Elsewhere(error.host, error.port, asking=type(error) is AskError)
    if isinstance(error, TryAgainError | ClusterDownError):
        return Unsettled(f"Redis cannot serve this now: {error}")
    if str(error).startswith(_PASSING):
        return StoreUnavailable(f"Redis refuses for now: {error}")
    return ServerError(str(error))
