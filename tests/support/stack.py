"""A gateway and an echo worker as processes of their own on a real server, and a look at what they use."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass
class Stack:
    """Running processes; ``url`` is the gateway's, without /v1."""

    url: str
    redis_url: str
    gateway: psutil.Popen
    folder: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def lines(self) -> list[dict]:
        """What the gateway has logged."""
        return [json.loads(line) for line in (self.folder / "gateway.log").read_text().splitlines()]

    def stderr(self) -> str:
        return (self.folder / "gateway.err").read_text()

    def metrics(self) -> dict[str, float]:
        """The gateway's metrics, by name with labels."""
        port = next(line["port"] for line in self.lines() if line["event"] == "probing")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}


@contextlib.contextmanager
def _process(name: str, folder: Path, **environment: str) -> Iterator[psutil.Popen]:
    with (folder / f"{name}.log").open("wb") as out, (folder / f"{name}.err").open("wb") as err:
        process = psutil.Popen(
            [sys.executable, "-m", name], env={**os.environ, **environment}, stdout=out, stderr=err
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=30)


@contextlib.contextmanager
def running_stack(
    redis_url: str, worker: dict[str, str] | None = None, key: str = "", **settings: str
) -> Iterator[Stack]:
    """Run both until the block ends; a model is served when it begins.  With a ``key`` no other is let in."""
    if key:
        settings |= {"AUTH": "keys", "API_KEYS": f"tester:{key}"}
    with tempfile.TemporaryDirectory(prefix="tw-stack-") as path, contextlib.ExitStack() as stack:
        folder = Path(path)
        common = {"REDIS_URL": redis_url, "PROBE_PORT": "0"}
        echo = {"ENGINE": "echo", "MODEL_NAME": "echo", "SLOTS": "64", "ECHO_RATE": "200"}
        stack.enter_context(_process("worker", folder, **(common | echo | (worker or {}))))
        gateway = stack.enter_context(
            _process("gateway", folder, **common, PORT="0", DRAIN_SECONDS="0", **settings)
        )
        deadline = time.monotonic() + 60
        made = Stack("", redis_url, gateway, folder)
        while not (made.url and _serves(made.url, key)):
            assert gateway.poll() is None, made.stderr()
            assert time.monotonic() < deadline, made.lines()
            time.sleep(0.05)  # a process that starts gives no other sign
            for line in made.lines():
                if line["event"] == "listening":
                    made.url = f"http://127.0.0.1:{line['port']}"
        yield made


def _serves(url: str, key: str) -> bool:
    asked = urllib.request.Request(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return bool(json.load(answer)["data"])
