"""Schemathesis on the served OpenAPI document: no 500, no hang, and every answer is one that it describes."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest
from stack import running_stack

from gateway.openapi import OPERATIONS

EXAMPLES = 12
"""Of each operation and phase; half a minute in all on a machine that does nothing else."""
LONGEST = 20
"""Seconds after which an answer counts as hanging; answers here have eight tokens."""
SEED = 7
PATIENCE = 400

# What a schema cannot say (a raw input goes without instructions) is refused though the schema allows it.
NOT_CHECKED = "positive_data_acceptance"


@pytest.fixture(scope="module")
def stack(valkey):
    short = {"MAX_OUTPUT_TOKENS": "8", "DEFAULT_OUTPUT_TOKENS": "4"}
    with running_stack(valkey, {"ECHO_RATE": "2000"}, **short) as made:
        yield made


async def schemathesis(folder, url):
    """Run it; return its exit code and the end of what it said."""
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("schemathesis"),
        "run",
        f"{url}/v1/openapi.json",
        *("--phases", "coverage,fuzzing,stateful", "--max-examples", str(EXAMPLES), "--seed", str(SEED)),
        *("--request-timeout", str(LONGEST), "--exclude-checks", NOT_CHECKED, "--no-color"),
        cwd=folder,
        env={**os.environ, "SCHEMATHESIS_HOOKS": ""},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    return process.returncode, out.decode()[-6_000:]


async def test_what_the_document_allows_and_what_it_forbids_gets_the_answers_that_it_tells_of(
    stack, tmp_path
):
    code, said = await schemathesis(tmp_path, stack.url)
    assert code == 0, said
    # It leaves out the operation that it has the document from.
    counts = re.search(r"Selected: (\d+)/(\d+)\s+Tested: (\d+)", said).groups()
    assert set(counts) == {str(len(OPERATIONS) - 1)}, said
    metrics = await asyncio.to_thread(stack.metrics)
    assert metrics['tokenwire_connections{door="sse"}'] == 0
    assert metrics["tokenwire_attachments"] == 0
    assert not [line for line in stack.lines() if line["level"] == "error"]
    assert not stack.stderr()
