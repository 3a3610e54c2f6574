"""A process that ends with its parent and writes what it says into a file."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping, Sequence
from pathlib import Path

from tokenwire import tether


async def start(argv: Sequence[str], log: Path, environ: Mapping[str, str] | None = None) -> Process:
    """Start it; ``environ`` is by default our own."""
    with log.open("ab") as file:
        return await asyncio.create_subprocess_exec(
            *tether.command(os.getpid(), list(argv), signal.SIGKILL),
            env=environ,
            stdin=DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
