"""Runs a command that ends when its parent does, however the parent ends: `tether.py PARENT SIGNAL command ...`.

It becomes the command (exec), so it costs a few milliseconds and no process.  Run it by its path with
``python -I -S``: it needs nothing but the standard library.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def command(parent: int, argv: list[str], number: int = signal.SIGTERM) -> list[str]:
    """Return the command line that runs ``argv`` tethered to the process ``parent``, which starts it.

    ``number`` is the signal that ends it; a process that may be stopped (SIGSTOP) hears SIGKILL alone.
    """
    return [sys.executable, "-I", "-S", __file__, str(parent), str(int(number)), *argv]


def die_with_parent(parent: int, number: int = signal.SIGTERM) -> None:
    """Have the kernel send a signal to this process when ``parent``, the process that started it, dies.

    The order survives exec (prctl(2), PR_SET_PDEATHSIG).  Elsewhere than on Linux nothing is done.
    Raises SystemExit if the parent is dead already, OSError if the kernel refuses.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it died before the order stood
        raise SystemExit(1)


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]), int(sys.argv[2]))
    os.execv(sys.argv[3], sys.argv[3:])  # noqa: S606 - to become a command is what this is for
