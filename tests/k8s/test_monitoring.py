"""What the monitoring component brings is what stands in deploy/, which is tested there."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from manifest_rules import unknown_metrics
from manifests import K8S, ROOT, named, of_kind, overlay

spec = importlib.util.spec_from_file_location("prometheus_rules", K8S / "prometheus_rules.py")
prometheus_rules = importlib.util.module_from_spec(spec)
spec.loader.exec_module(prometheus_rules)

RULES = sorted((ROOT / "deploy/prometheus/rules").glob("*.yml"))
DASHBOARDS = sorted((ROOT / "deploy/grafana/dashboards").glob("*.json"))


def test_the_manifests_are_those_that_make_writes():
    made = prometheus_rules.manifests()
    assert made
    assert {path: path.read_text() for path in made} == made, "run `make dashboards`"


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_every_rule_is_in_the_cluster_too(path):
    objects = overlay("gpu")
    assert named(objects, "PrometheusRule", f"tokenwire-{path.stem}")["spec"] == yaml.safe_load(
        path.read_text()
    )


def test_no_rule_file_is_forgotten():
    names = {each["metadata"]["name"] for each in of_kind(overlay("gpu"), "PrometheusRule")}
    assert names == {f"tokenwire-{path.stem}" for path in RULES}


def test_every_dashboard_is_a_config_map_for_the_sidecar():
    maps = [
        each
        for each in of_kind(overlay("gpu"), "ConfigMap")
        if each["metadata"].get("labels", {}).get("grafana_dashboard") == "1"
    ]
    held = {name: text for each in maps for name, text in each["data"].items()}
    assert held == {path.name: path.read_text() for path in DASHBOARDS}
    # kubectl apply keeps a copy in an annotation, of which there may be 256 KiB.
    assert all(len(text.encode()) < 200_000 for text in held.values())


def test_alerts_about_targets_know_what_the_operator_calls_them():
    # A PodMonitor's job is NAMESPACE/NAME.
    rules = yaml.safe_dump([each["spec"] for each in of_kind(overlay("gpu"), "PrometheusRule")])
    (pattern,) = set(re.findall(r'up\{job=~"([^"]+)"', rules))
    for monitor in of_kind(overlay("gpu"), "PodMonitor"):
        assert re.fullmatch(pattern, f"tokenwire/{monitor['metadata']['name']}")


def test_promtool_takes_the_rules_out_of_the_objects(tmp_path: Path):
    for each in of_kind(overlay("gpu"), "PrometheusRule"):
        (tmp_path / f"{each['metadata']['name']}.yml").write_text(yaml.safe_dump(each["spec"]))
    try:
        command = ["promtool", "check", "rules", *map(str, tmp_path.glob("*.yml"))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no promtool: apt-get install prometheus")
    assert done.returncode == 0, done.stdout + done.stderr


def expressions():
    for each in of_kind(overlay("gpu"), "PrometheusRule"):
        for group in each["spec"]["groups"]:
            yield from (rule["expr"] for rule in group["rules"])


def test_rules_ask_for_metrics_that_exist():
    # Recorded series have a colon in their names and come from the rules themselves.
    queries = [re.sub(r"tokenwire\w*:[\w:]+", "", each) for each in expressions()]
    assert queries
    assert [problem for each in queries for problem in unknown_metrics(each)] == []


def test_a_metric_that_does_not_exist_is_found():
    assert list(unknown_metrics("rate(tokenwire_request_total[5m])")) == [
        "there is no metric tokenwire_request_total"
    ]
