"""What all benchmarks share: processes, their CPU, and tables of medians."""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tokenwire.valkey import answers, command, find_program


@contextlib.contextmanager
def valkey() -> Iterator[tuple[str, int]]:
    """Run an embedded server; yield its URL and process id."""
    with tempfile.TemporaryDirectory(prefix="tw-bench-") as folder:
        socket_path = Path(folder) / "valkey.sock"
        with running(command(find_program(), socket_path)) as pid:
            while not answers(socket_path):
                time.sleep(0.02)
            yield f"unix://{socket_path}", pid


@contextlib.contextmanager
def running(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> Iterator[int]:
    """Run a process for the length of a block; yield its id."""
    process = subprocess.Popen(  # noqa: S603 - our own programs
        list(argv),
        env={**os.environ, **(environ or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(timeout=20)


def python(module: str, environ: Mapping[str, str]) -> contextlib.AbstractContextManager[int]:
    """Run one of our modules as a process."""
    return running([sys.executable, "-m", module], environ)


def free_port() -> int:
    """Return a port on loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cpu:
    """CPU seconds of processes between two looks."""

    def __init__(self, *pids: int) -> None:
        self._processes = [psutil.Process(pid) for pid in pids]
        self._began = self._seconds()

    def _seconds(self) -> list[float]:
        return [sum(process.cpu_times()[:2]) for process in self._processes]

    def spent(self) -> list[float]:
        """Return the seconds each process has used since."""
        return [now - then for now, then in zip(self._seconds(), self._began, strict=True)]


@dataclass(frozen=True, slots=True)
class Row:
    """One way of doing it, with a figure per round."""

    name: str
    figures: Sequence[float]

    @property
    def median(self) -> float:
        """The figure to quote."""
        return statistics.median(self.figures)


def ratios(figures: Sequence[float], others: Sequence[float]) -> str:
    """Return the median of the ratios, taken round by round."""
    return f"x{statistics.median(a / b for a, b in zip(figures, others, strict=True)):.2f}"


def differences(figures: Sequence[float], others: Sequence[float]) -> str:
    """Return the median of the differences, taken round by round; for counts, which may be none."""
    return f"{statistics.median(a - b for a, b in zip(figures, others, strict=True)):+.1f}"


Comparison = Callable[[Sequence[float], Sequence[float]], str]


def show(title: str, unit: str, rows: Sequence[Row], compare: Comparison = ratios) -> None:
    """Print medians, ranges, and what each row is to the first."""
    first = rows[0].figures
    print(f"\n{title} ({unit}, median of {len(first)} alternated rounds)")
    for row in rows:
        low, high = min(row.figures), max(row.figures)
        compared = compare(row.figures, first)
        print(f"  {row.name:<44} {row.median:9.1f}   {low:8.1f} to {high:8.1f}   {compared}")
