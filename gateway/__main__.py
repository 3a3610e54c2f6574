"""``python -m gateway``: run one gateway with the settings of the environment."""

from __future__ import annotations

import os
import sys

from gateway.app import serve
from gateway.settings import GatewaySettings
from shared.lifecycle import run
from shared.settings import SettingsError, read


def main() -> int:
    """Run until a signal and return the exit code: 2 if a setting has to be changed."""
    try:
        settings = read(GatewaySettings, os.environ)
        return run(lambda stop: serve(settings, stop))
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
