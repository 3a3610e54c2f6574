import os
import signal
import subprocess
import sys

import psutil
import pytest

from tokenwire import tether
from tokenwire.tether import command, die_with_parent

linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a child of its parent's death"
)


def test_it_becomes_the_command():
    source = "import os; print(os.getpid())"
    with subprocess.Popen(
        command(os.getpid(), [sys.executable, "-c", source]), stdout=subprocess.PIPE, text=True
    ) as child:
        assert int(child.stdout.readline()) == child.pid
    assert child.returncode == 0


@linux_only
def test_a_child_ends_when_its_parent_is_killed():
    sleeper = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
    source = f"""
import os, subprocess, time
from tokenwire.tether import command
child = subprocess.Popen(command(os.getpid(), {sleeper!r}), stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
        child.wait(timeout=40)
    assert not child.is_running()


@linux_only
def test_a_child_whose_parent_is_dead_already_never_begins():
    not_the_parent = os.getppid()
    done = subprocess.run(command(not_the_parent, ["/bin/echo", "begun"]), capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")


def test_elsewhere_than_on_linux_nothing_is_asked_of_the_kernel(monkeypatch):
    monkeypatch.setattr(tether.sys, "platform", "darwin")
    monkeypatch.setattr(tether.ctypes, "CDLL", None)
    assert die_with_parent(1) is None


@linux_only
def test_a_child_that_is_stopped_ends_too_if_its_signal_is_the_hardest():
    sleeper = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
    source = f"""
import os, signal, subprocess, time
from tokenwire.tether import command
child = subprocess.Popen(command(os.getpid(), {sleeper!r}, signal.SIGKILL), stdout=subprocess.PIPE)
child.stdout.readline()
child.send_signal(signal.SIGSTOP)
print(child.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
        child.wait(timeout=40)
    assert not child.is_running()
