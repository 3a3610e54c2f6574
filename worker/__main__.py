"""``python -m worker``: one worker process."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping

from shared.lifecycle import run
from shared.observe import make_logger
from shared.settings import SettingsError, read
from worker.app import LeftBehind, serve
from worker.engines.contract import EngineError
from worker.settings import WorkerSettings


def main() -> int:
    """Run until a signal.

    The exit code is 0 if everything was handed over, 1 if something was left behind, 2 if a setting or the
    model has to be changed or the engine has failed.
    """
    let_idle_threads_sleep(os.environ)
    try:
        settings = read(WorkerSettings, os.environ)
        log = make_logger("worker", sys.stdout, worker=settings.worker_name)
        return run(lambda stop: serve(settings, stop, log))
    except (SettingsError, EngineError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except LeftBehind as problem:
        sys.stderr.write(f"{problem}\n")
        return 1


def let_idle_threads_sleep(environ: MutableMapping[str, str]) -> None:
    """Tell OpenMP, before torch is loaded, that a thread which waits for the others sleeps (OpenMP API, OMP_WAIT_POLICY).

    By default it spins, and where something else wants the cores it spins on the very one that it waits for.
    """
    if not environ.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"}:
        environ["OMP_WAIT_POLICY"] = "PASSIVE"


if __name__ == "__main__":
    sys.exit(main())
