"""The gateway that clients nobody here wrote are tried on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from stack import Stack, running_stack

NODE = Path(__file__).parent / "node"


@pytest.fixture(scope="session")
def stack(valkey) -> Iterator[Stack]:
    with running_stack(valkey) as made:
        yield made


@pytest.fixture(scope="session")
def node_packages() -> Path:
    """The folder of the Node packages, installed by its lock file if it is not yet."""
    if shutil.which("npm") is None:
        pytest.skip("there is no npm: apt-get install nodejs npm")
    lock, stamp = NODE / "package-lock.json", NODE / "node_modules/.installed"
    if not stamp.exists() or stamp.stat().st_mtime < lock.stat().st_mtime:
        command = ["npm", "ci", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"]
        subprocess.run(command, cwd=NODE, check=True, timeout=300, env=os.environ)
        stamp.touch()
    return NODE
