"""An audit as a user runs it."""

from __future__ import annotations

import asyncio
import os
import sys


async def audited(*options: str, seconds: float) -> tuple[int, str]:
    """Run it to its end; return its exit code and all it said."""
    audit = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "tokenwire", "audit", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=dict(os.environ),
    )
    said, _ = await asyncio.wait_for(audit.communicate(), seconds)
    return audit.returncode, said.decode()
