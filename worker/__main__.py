"""``python -m worker``: one worker process."""

from __future__ import annotations

import os
import sys

from shared.lifecycle import run
from shared.observe import make_logger
from shared.settings import SettingsError, read
from worker.app import serve
from worker.engines.contract import EngineError
from worker.settings import WorkerSettings


def main() -> int:
    """Run until a signal; 0 after an orderly stop, 2 if a setting or the model has to be changed."""
    try:
        settings = read(WorkerSettings, os.environ)
        log = make_logger("worker", sys.stderr, worker=settings.worker_name)
        return run(lambda stop: serve(settings, stop, log))
    except (SettingsError, EngineError) as error:
        sys.stderr.write(f"{error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
