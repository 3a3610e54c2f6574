"""Debian's Chromium, in which the tests open pages."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.page import FLAGS

__all__ = ["FLAGS", "chromium"]


def chromium() -> Path:
    """The browser's program; skips the test if there is none."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("there is no chromium: apt-get install chromium, or make debian")
    return Path(found)
