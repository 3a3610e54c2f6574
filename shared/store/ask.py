"""One command on a connection of its own: how tools talk to one server among several, and wait for it."""

from __future__ import annotations

from typing import Any

from redis.connection import Connection
from redis.exceptions import RedisError

UNANSWERED = (RedisError, OSError)
"""What :func:`ask` raises: the server's own error, or that it cannot be reached."""


def ask(host: str, port: int, *arguments: object, seconds: float = 20.0) -> Any:
    """Send one command and return its reply as it came, after at most so many seconds.

    Raises RedisError or OSError.  It blocks its thread.
    """
    connection: Any = Connection(  # type: ignore[no-untyped-call]  # redis-py types it so
        host=host, port=port, socket_timeout=seconds
    )
    try:
        connection.connect()
        connection.send_command(*arguments)
        return connection.read_response()
    finally:
        connection.disconnect()
