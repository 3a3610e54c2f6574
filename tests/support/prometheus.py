"""A real Prometheus that scrapes processes of the test, and what its answers to panels' queries are worth."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import yaml
from monitoring import DEPLOY, MAY_BE_EMPTY, Shown, program
from servers import free_port, until

_WINDOWS = {"__rate_interval": "30s", "__interval": "15s", "__range": "60s"}


@contextlib.contextmanager
def prometheus(folder: Path, jobs: dict[str, list[int]]) -> Iterator[str]:
    """Scrape the ports of each job every second, with our rules; yield its URL."""
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(DEPLOY / "prometheus" / "rules" / "*.yml")],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}]}
            for job, ports in jobs.items()
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            until(lambda: _is_ready(url), 60)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=30)


def _is_ready(url: str) -> bool:
    with urllib.request.urlopen(f"{url}/-/ready", timeout=5) as answer:
        return bool(answer.status == 200)


def ask(url: str, path: str, **query: object) -> dict:
    """Ask its API; a refused query is an answer too."""
    whole = f"{url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    try:
        with urllib.request.urlopen(whole, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refusal:
        return json.load(refusal)


def problem_with(url: str, shown: Shown) -> str | None:
    """Say why a panel's query shows nothing, or None if it shows something."""
    expr = shown.expr
    for name, value in _WINDOWS.items():
        expr = expr.replace(f"${{{name}}}", value).replace(f"${name}", value)
    expr = re.sub(r"\$\{?instance\}?", ".*", expr)
    if "$" in expr:
        return f"unknown variable: {expr}"
    now = time.time()
    reply = ask(url, "query_range", query=expr, start=now - 60, end=now, step=2)
    if reply["status"] != "success":
        return f"{reply['error']}: {expr}"
    series = reply["data"]["result"]
    if any(value != "NaN" for each in series for _, value in each["values"]):
        return None
    return None if MAY_BE_EMPTY in shown.description else f"{'only NaN' if series else 'no data'}: {expr}"
