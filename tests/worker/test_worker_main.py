import subprocess
import sys

import pytest

from worker.__main__ import let_idle_threads_sleep

LOAD = """
import os, sys
from worker.__main__ import let_idle_threads_sleep
assert "torch" not in sys.modules
let_idle_threads_sleep(os.environ)
import torch
"""


def test_openmp_is_told_before_torch_is_there():
    """OpenMP reads its environment once, when it is loaded, and says then what it has read."""
    ran = subprocess.run(
        [sys.executable, "-c", LOAD],
        env={"OMP_DISPLAY_ENV": "VERBOSE"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )

    # Not by the policy's own line: that says PASSIVE where nothing is set, too.
    assert "GOMP_SPINCOUNT = '0'" in ran.stderr


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_what_somebody_has_set_stays(name):
    environ = {name: "1000"}

    let_idle_threads_sleep(environ)

    assert environ == {name: "1000"}
