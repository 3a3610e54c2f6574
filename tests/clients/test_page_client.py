"""The page's stream client in Node, on a real gateway behind a proxy that cuts."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from cutting import cutting

FRONTEND = Path(__file__).parents[2] / "frontend"


async def test_the_typescript_client_streams_stops_and_resumes_on_a_real_gateway(stack):
    vitest = FRONTEND / "node_modules/.bin/vitest"
    if shutil.which("node") is None or not vitest.exists():
        pytest.skip("the page's packages are not installed: make setup")
    async with cutting(stack.port, [3_500, 3_000, 2_500]) as (url, seen):
        environment = {
            **os.environ,
            "TOKENWIRE_URL": url.removesuffix("/v1"),
            "TOKENWIRE_RESUMES": "2",
            "NODE_OPTIONS": "--experimental-websocket",
        }
        process = await asyncio.create_subprocess_exec(
            vitest,
            "run",
            "tests/client/live.test.ts",
            cwd=FRONTEND,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 0, said.decode()
    assert b"4 passed" in said, said.decode()
    assert len(seen) >= 6
