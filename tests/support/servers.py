"""The servers of :mod:`tokenwire.servers` for tests, and the programs they are run with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tokenwire.servers import (
    Node,
    Nodes,
    Watched,
    alone,
    as_cluster,
    free_port,
    running,
    under_sentinel,
    until,
    write_something,
)
from tokenwire.valkey import find_program

__all__ = [
    "Node",
    "Nodes",
    "Watched",
    "alone",
    "as_cluster",
    "free_port",
    "redis_program",
    "running",
    "under_sentinel",
    "until",
    "valkey_program",
    "write_something",
]


def redis_program() -> Path:
    """The program of Debian's Redis 7.0; skips the test if there is none."""
    # The package redis-tools holds the server under another name, and starts no service of the system.
    found = shutil.which("redis-server") or shutil.which("redis-check-rdb")
    if found is None:
        pytest.skip("there is no redis-server: apt-get install redis-tools")
    return Path(found)


def valkey_program() -> Path:
    return find_program()
