import asyncio
import os
import sys
from contextlib import asynccontextmanager

import psutil
import pytest

from tokenwire.errors import FAILED, REFUSED, CommandError
from tokenwire.plan import Process, Role
from tokenwire.processes import Fleet

ORDER = ((Role.WORKER, 5.0), (Role.GATEWAY, 5.0), (Role.SERVER, 5.0))
FOREVER = "import time\nprint('up', flush=True)\ntime.sleep(600)"
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FOREVER


class Lines:
    """What the user was told."""

    def __init__(self):
        self.told = []
        self._news = asyncio.Event()

    def __call__(self, line):
        self.told.append(line)
        self._news.set()

    async def until(self, number):
        while len(self.told) < number:
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), 20)
        return self.told


def process(name, source, role=Role.WORKER):
    return Process(name, role, (sys.executable, "-c", source), {})


def pid_of(line):
    return int(line.split()[2])


@asynccontextmanager
async def fleet_in(folder, order=ORDER):
    lines = Lines()
    fleet = Fleet(folder, lines)
    try:
        yield fleet, lines
    finally:
        await fleet.stop(order)


async def written(log):
    """Wait until a process has begun to write its log."""
    async with asyncio.timeout(20):
        while not log.exists() or not log.read_text():  # noqa: ASYNC110 - a file gives no sign
            await asyncio.sleep(0.02)


async def test_a_process_is_announced_and_writes_to_a_log_of_its_own(tmp_path):
    async with fleet_in(tmp_path) as (fleet, lines):
        await fleet.start(process("worker-1", FOREVER))
        assert lines.told[0].startswith("worker-1 pid ")
        await written(tmp_path / "worker-1.log")
    assert not psutil.pid_exists(pid_of(lines.told[0]))


async def test_who_dies_before_all_is_settled_breaks_the_fleet_with_its_last_words(tmp_path):
    async with fleet_in(tmp_path) as (fleet, _):
        await fleet.start(process("worker-1", "raise SystemExit('The model is too large.')"))
        with pytest.raises(
            CommandError, match=r"worker-1 did not start \(exit code 1\): The model is too l"
        ) as caught:
            await asyncio.wait_for(fleet.broken(), 20)
    assert caught.value.code == FAILED


async def test_who_refuses_a_setting_speaks_for_itself(tmp_path):
    source = "import sys\nsys.stderr.write('SLOTS must be at least 1.')\nsys.exit(2)"
    async with fleet_in(tmp_path) as (fleet, _):
        await fleet.start(process("worker-1", source))
        with pytest.raises(CommandError, match=r"^SLOTS must be at least 1\.$") as caught:
            await asyncio.wait_for(fleet.broken(), 20)
    assert caught.value.code == REFUSED


async def test_without_log_files_the_reader_is_sent_to_the_terminal():
    async with fleet_in(None) as (fleet, _):
        await fleet.start(process("worker-1", "raise SystemExit(3)"))
        with pytest.raises(CommandError, match="its log is above"):
            await asyncio.wait_for(fleet.broken(), 20)


async def test_who_dies_later_is_started_again(tmp_path):
    async with fleet_in(tmp_path) as (fleet, lines):
        await fleet.start(process("worker-1", FOREVER))
        fleet.settle()
        first = pid_of(lines.told[0])
        psutil.Process(first).kill()
        told = await lines.until(3)
        assert told[1] == "worker-1 died (SIGKILL); starting it again in 0.25 s"
        assert pid_of(told[2]) != first
        assert psutil.pid_exists(pid_of(told[2]))


async def test_a_stop_while_the_dead_wait_starts_nothing(tmp_path):
    async with fleet_in(tmp_path) as (fleet, lines):
        await fleet.start(process("worker-1", FOREVER))
        fleet.settle()
        psutil.Process(pid_of(lines.told[0])).kill()
        await lines.until(2)
    await asyncio.sleep(0.4)  # longer than the pause
    assert len(lines.told) == 2


async def test_roles_end_one_after_the_other(tmp_path):
    tell = "import signal, sys, time\n"
    tell += "signal.signal(signal.SIGTERM, lambda *_: (print(time.monotonic_ns()), sys.exit()))\n" + FOREVER
    async with fleet_in(tmp_path) as (fleet, _):
        for role in (Role.SERVER, Role.GATEWAY, Role.WORKER):
            await fleet.start(process(role.value, tell, role))
            await written(tmp_path / f"{role.value}.log")
    ended = {role: int((tmp_path / f"{role.value}.log").read_text().split()[1]) for role in Role}
    assert ended[Role.WORKER] < ended[Role.GATEWAY] < ended[Role.SERVER]


async def test_who_does_not_end_in_time_is_killed(tmp_path):
    async with fleet_in(tmp_path, [(Role.WORKER, 0.1)]) as (fleet, lines):
        await fleet.start(process("worker-1", STUBBORN))
        await written(tmp_path / "worker-1.log")
    assert not psutil.pid_exists(pid_of(lines.told[0]))


async def test_a_stop_that_is_cut_short_kills_and_leaves_nothing(tmp_path):
    lines = Lines()
    fleet = Fleet(tmp_path, lines)
    await fleet.start(process("worker-1", STUBBORN))
    await written(tmp_path / "worker-1.log")
    stopping = asyncio.create_task(fleet.stop([(Role.WORKER, 60.0)]))
    await asyncio.sleep(0.1)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert not psutil.pid_exists(pid_of(lines.told[0]))


async def test_a_start_that_is_cancelled_leaves_no_process(tmp_path):
    lines = Lines()
    fleet = Fleet(tmp_path, lines)
    starting = asyncio.create_task(fleet.start(process("worker-1", FOREVER)))
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await fleet.stop(ORDER)
    assert all(not psutil.pid_exists(pid_of(line)) for line in lines.told)


async def test_processes_do_not_hear_ctrl_c(tmp_path):
    async with fleet_in(tmp_path) as (fleet, lines):
        await fleet.start(process("worker-1", FOREVER))
        pid = pid_of(lines.told[0])
        assert os.getpgid(pid) != os.getpgid(0)  # a terminal sends it to its own process group
