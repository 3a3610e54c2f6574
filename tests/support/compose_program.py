"""Docker Compose, from the Python package that ships it or as a plugin of docker."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path


def compose_program() -> list[str] | None:
    """Return how Compose v2 is called here, or None."""
    # The package's own command loses the exit code, so its binary is called.
    spec = importlib.util.find_spec("compose")
    binary = Path(spec.origin).with_name("docker-compose") if spec and spec.origin else None
    if binary is not None and binary.is_file():
        return [str(binary)]
    docker = shutil.which("docker")
    if (
        docker
        and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0
    ):
        return [docker, "compose"]
    return None
