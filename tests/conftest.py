"""Fixtures that every room uses: servers, free ports, and a look at what was left behind."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as properties

from tokenwire.valkey import answers, command, find_program
from worker.engines.transformers.model import small_model

_NODE = Path(__file__).parent / "clients/node"

REQUIRE_ALL = os.environ.get("REQUIRE_ALL", "") not in ("", "0")
"""Set in CI: what a test needs is there, or the test fails."""

# No property is timed: a machine that is held up for a fifth of a second, which is the library's own limit, has
# shown nothing.  In CI every run draws the same examples; here each draws new ones.
properties.register_profile(
    "tokenwire", deadline=None, derandomize=REQUIRE_ALL, suppress_health_check=[HealthCheck.too_slow]
)
properties.load_profile("tokenwire")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """Turn a test's skip into a failure where everything is required."""
    return _required((yield), item.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector):
    """Turn a whole file's skip into a failure where everything is required."""
    return _required((yield), collector.nodeid)


def _required(report: pytest.TestReport | pytest.CollectReport, name: str):
    if REQUIRE_ALL and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"REQUIRE_ALL is set, and {name} was skipped: {reason}"
    return report


@contextmanager
def serving(program: Path, called: str = "valkey-server") -> Iterator[str]:
    """Run a server on a unix socket in a folder of its own; yield its URL."""
    folder = Path(tempfile.mkdtemp(prefix="tw-"))
    socket_path = folder / "valkey.sock"
    arguments = [called, *command(program, socket_path)[1:]]
    server = subprocess.Popen(arguments, executable=program, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not answers(socket_path):
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{program} did not start (exit code {server.poll()})")
            time.sleep(0.02)  # a server has no event to wait for before it listens
        yield f"unix://{socket_path}"
    finally:
        server.terminate()
        server.wait(timeout=20)
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def valkey() -> Iterator[str]:
    """URL of an embedded Valkey, of one file's tests alone: whose workers announce themselves there is certain."""
    with serving(find_program()) as url:
        yield url


@pytest.fixture(scope="module")
def redis7() -> Iterator[str]:
    """URL of Debian's Redis 7.0, the oldest server we promise to work on; of one file's tests alone."""
    # The package redis-tools holds the server under another name, and starts no service of the system.
    program = shutil.which("redis-server") or shutil.which("redis-check-rdb")
    if program is None:
        pytest.skip("there is no redis-server: apt-get install redis-tools")
    with serving(Path(program), called="redis-server") as url:
        yield url


@pytest.fixture
def free_port() -> int:
    """A port on loopback that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def model_cache() -> Path:
    """Where models are cached between runs of the tests."""
    root = Path(__file__).parents[1]
    return root / os.environ.get("CACHE_DIR", ".cache") / "models"  # as the Makefile


@pytest.fixture(scope="session")
def small_model_dir(model_cache: Path) -> Path:
    """The real small model; made on the first run, which takes about a minute."""
    return small_model(model_cache, print)


@pytest.fixture(scope="session")
def node_packages() -> Path:
    """The folder of the Node packages, installed by its lock file if it is not yet."""
    if shutil.which("npm") is None:
        pytest.skip("there is no npm: apt-get install nodejs npm")
    lock, stamp = _NODE / "package-lock.json", _NODE / "node_modules/.installed"
    if not stamp.exists() or stamp.stat().st_mtime < lock.stat().st_mtime:
        command = ["npm", "ci", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"]
        subprocess.run(command, cwd=_NODE, check=True, timeout=300, env=os.environ)
        stamp.touch()
    return _NODE


@pytest.fixture(scope="session", autouse=True)
def _nothing_left() -> Iterator[None]:
    """Fail the session if a test's process outlives it."""
    yield
    left = [child for child in psutil.Process().children(recursive=True) if _alive(child)]
    for child in left:
        child.kill()
    assert not left, f"left running: {left}"


def _alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in str(process.cmdline())
    except psutil.NoSuchProcess:
        return False
