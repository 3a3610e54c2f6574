from __future__ import annotations

import os
import sys

import psutil
import pytest

from bench.__main__ import main
from bench.measure import Cpu, Row, differences, running, show, valkey
from tokenwire.valkey import answers


def test_ratios_are_taken_round_by_round(capsys: pytest.CaptureFixture[str]):
    show("relay", "us", [Row("ours", [10, 20, 40]), Row("theirs", [30, 60, 60])])

    ours, theirs = capsys.readouterr().out.splitlines()[2:]
    assert ours.split() == ["ours", "20.0", "10.0", "to", "40.0", "x1.00"]
    assert theirs.split() == ["theirs", "60.0", "30.0", "to", "60.0", "x3.00"]


def test_differences_are_taken_round_by_round_and_bear_none(capsys: pytest.CaptureFixture[str]):
    show("page", "an answer", [Row("theirs", [0, 0, 4]), Row("ours", [1, 3, 2])], differences)

    theirs, ours = capsys.readouterr().out.splitlines()[2:]
    assert theirs.split()[-1] == "+0.0"
    assert ours.split() == ["ours", "2.0", "1.0", "to", "3.0", "+1.0"]


def test_the_cpu_of_a_process_is_what_it_used_since_the_look():
    cpu = Cpu(os.getpid())
    sum(n * n for n in range(3_000_000))

    [spent] = cpu.spent()

    assert spent > 0


def test_what_was_started_ends_with_the_block():
    with running([sys.executable, "-c", "import time; time.sleep(60)"]) as pid:
        assert psutil.pid_exists(pid)

    assert not psutil.pid_exists(pid)


def test_the_server_answers_for_the_length_of_the_block():
    with valkey() as (url, pid):
        socket_path = url.removeprefix("unix://")
        assert answers(socket_path)
        assert psutil.Process(pid).is_running()

    assert not psutil.pid_exists(pid)


def test_an_unknown_benchmark_is_said_in_a_sentence(capsys: pytest.CaptureFixture[str]):
    assert main(["speed"]) == 2
    assert (
        "There is no benchmark 'speed'; there are emit, relay, path, sockets, engine, serve, page."
        in capsys.readouterr().err
    )
