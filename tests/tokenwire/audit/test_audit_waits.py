from __future__ import annotations

import os

import pytest

from tokenwire.audit.waits import Waits


def write(proc, pid: int, thread: int, nanoseconds: int) -> None:
    task = proc / str(pid) / "task" / str(thread)
    task.mkdir(parents=True, exist_ok=True)
    (task / "schedstat").write_text(f"123 {nanoseconds} 7\n")


def test_the_thread_that_waited_longest_counts(tmp_path):
    waits = Waits(lambda: {"a": 1, "b": 2}, tmp_path)
    write(tmp_path, 1, 1, 5_000_000_000)
    write(tmp_path, 2, 2, 0)
    waits.look(100.0)
    assert waits.found == []  # what was before the first look is nobody's

    write(tmp_path, 1, 1, 5_100_000_000)
    write(tmp_path, 2, 2, 200_000_000)
    write(tmp_path, 2, 3, 900_000_000)  # a new thread
    waits.look(100.25)

    assert [(stall.start, stall.end, stall.who) for stall in waits.found] == [
        (pytest.approx(100.15), 100.25, "a"),
        (pytest.approx(100.05), 100.25, "b"),
    ]


def test_a_little_waiting_and_processes_that_are_gone_count_for_nothing(tmp_path):
    waits = Waits(lambda: {"a": 1, "b": 2}, tmp_path)
    for nanoseconds in (0, 20_000_000):
        write(tmp_path, 1, 1, nanoseconds)
        waits.look(1.0)
    assert waits.found == []


@pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="only Linux counts it")  # noqa: PTH110 - at import
def test_a_real_process_has_its_count():
    [(_, waited), *_] = Waits(list)._delays(os.getpid())
    assert waited >= 0.0
