"""What dashboards and rules say, and the names that the code knows: read once, for several tests."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from gateway.metrics import Metrics
from gateway.page_times import PageTimes
from shared.metrics import ProcessMetrics
from worker.metrics import WorkerMetrics

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RULES = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
MAY_BE_EMPTY = "may be empty"
NAME = re.compile(r"\b(?:tokenwire|process)_[a-z_]+\b")


def program(name: str) -> str:
    """A program of Debian's package prometheus; skips the test if there is none."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name}: apt-get install prometheus")
    return found


def promtool(*arguments: object, expect: int = 0) -> str:
    """Run promtool and return what it said."""
    ran = subprocess.run(
        [program("promtool"), *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    said = ran.stdout + ran.stderr
    assert ran.returncode == expect, said
    return said


def exported() -> dict[str, set[str]]:
    """Every series that the two tiers export: name -> labels."""
    gateway, worker = CollectorRegistry(), CollectorRegistry()
    metrics = Metrics(gateway)
    for gauge in (metrics.queue_depth, metrics.workers, metrics.slots, metrics.running):
        gauge.labels("m")
    PageTimes(gateway)
    ProcessMetrics(gateway, "gateway")
    WorkerMetrics(worker)
    found: dict[str, set[str]] = {}
    for registry in (gateway, worker):
        for family in registry.collect():
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


@dataclass(frozen=True)
class Shown:
    """One query of one panel."""

    dashboard: str
    panel: str
    description: str
    expr: str


def panels(dashboard: dict) -> Iterator[dict]:
    """All panels, those within rows too."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def shown() -> list[Shown]:
    """Every query of every dashboard."""
    return [
        Shown(path.stem, panel["title"], panel["description"], target["expr"])
        for path in DASHBOARDS
        for panel in panels(json.loads(path.read_text()))
        for target in panel.get("targets", [])
    ]


def ruled() -> list[dict]:
    """Every rule."""
    return [
        rule
        for path in RULES
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]


def unknown_names(expr: str, names: dict[str, set[str]]) -> list[str]:
    """The metrics of an expression that nobody exports."""
    return sorted(set(NAME.findall(re.sub(r'"[^"]*"', "", expr))) - set(names))
