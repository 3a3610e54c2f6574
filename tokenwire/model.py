"""Making the small default model before anything else is started, so that its progress is seen."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable, Mapping
from pathlib import Path

from tokenwire import tether
from tokenwire.errors import CommandError


async def prepare_small_model(cache: Path, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Make the small model in ``cache`` unless it is there.  Raises CommandError.

    It is made in a process of its own: this one never loads torch.
    """
    argv = [sys.executable, "-P", "-m", "worker.engines.transformers.model", "--cache", str(cache)]
    maker = await asyncio.create_subprocess_exec(
        *tether.command(os.getpid(), argv),
        env={**environ, "TQDM_DISABLE": "1"},  # bars that redraw themselves are no lines
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
        start_new_session=True,
    )
    try:
        last = await _relay(maker.stderr, say)
        if await maker.wait() != 0:
            raise CommandError(last or "The small model could not be made.")
    finally:
        if maker.returncode is None:  # we were told to stop
            maker.kill()  # it works in a temporary folder, which the next maker removes
            await maker.wait()


async def _relay(lines: asyncio.StreamReader | None, say: Callable[[str], None]) -> str:
    """Show each line of progress; return the last one."""
    last = ""
    while lines is not None and (line := await lines.readline()):
        last = line.decode(errors="replace").strip()
        say(last)
    return last
