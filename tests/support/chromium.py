"""Debian's Chromium, in which the tests open pages."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

FLAGS = (
    "--no-sandbox",  # as root in a container there is none to be had
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def chromium() -> Path:
    """The browser's program; skips the test if there is none."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("there is no chromium: apt-get install chromium, or make debian")
    return Path(found)
