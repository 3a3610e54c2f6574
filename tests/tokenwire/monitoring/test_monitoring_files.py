"""The files under deploy/: as the code makes them, whole, and about metrics that the code has."""

import itertools
import json
import re

import pytest
import yaml
from monitoring import (
    DASHBOARDS,
    DEPLOY,
    MAY_BE_EMPTY,
    ROOT,
    RULES,
    exported,
    panels,
    ruled,
    shown,
    unknown_names,
)

from shared.observe import ITL_BUCKETS, TTFT_BUCKETS
from tokenwire.monitoring.__main__ import files
from tokenwire.monitoring.panels import COLUMNS, DATASOURCE


def recorded():
    return {rule["record"] for rule in ruled() if "record" in rule}


# ---- drift


@pytest.mark.parametrize(("path", "text"), list(files()), ids=[path for path, _ in files()])
def test_a_made_file_is_as_the_code_makes_it(path, text):
    assert (DEPLOY / path).read_text() == text, "make dashboards"


def test_no_dashboard_lies_there_that_nobody_makes():
    made = {DEPLOY / path for path, _ in files()}
    assert set(DASHBOARDS) == {path for path in made if path.suffix == ".json"}


# ---- names


def test_every_metric_of_every_panel_is_one_that_the_code_has():
    names = exported()
    missing = {(each.panel, name) for each in shown() for name in unknown_names(each.expr, names)}
    assert missing == set()


def test_every_metric_of_every_rule_is_one_that_the_code_has():
    names = exported()
    missing = {(rule["expr"], name) for rule in ruled() for name in unknown_names(rule["expr"], names)}
    assert missing == set()


def test_a_misspelt_metric_is_noticed():
    assert unknown_names('rate(tokenwire_claim_total{a="tokenwire_x"}[5m])', exported()) == [
        "tokenwire_claim_total"
    ]


def test_every_recorded_series_that_is_used_is_recorded():
    used = {
        name
        for text in [*(each.expr for each in shown()), *(rule["expr"] for rule in ruled())]
        for name in re.findall(r"tokenwire:[a-z_0-9]+(?::[a-z_0-9]+)*", text)
    }
    assert used
    assert used <= recorded()


def test_every_label_that_a_query_selects_by_is_on_its_metric():
    names = exported()
    added = {"job", "instance", "le", "slo"}
    for expr in [*(each.expr for each in shown()), *(rule["expr"] for rule in ruled())]:
        for name, selector in re.findall(r"\b(tokenwire_[a-z_]+)\{([^}]*)\}", expr):
            labels = set(re.findall(r"(\w+)\s*[=!]", re.sub(r'"[^"]*"', "", selector)))
            assert labels <= names[name] | added, (name, labels)


def test_the_values_that_queries_name_are_such_that_the_code_writes():
    from gateway.errors import Code  # noqa: PLC0415 - only here
    from shared.log import Reason, Status  # noqa: PLC0415 - only here
    from shared.store.contract import AppendReply, Standing  # noqa: PLC0415 - only here

    known = {
        "reason": {*map(str, Reason), *map(str, Code)},
        "outcome": {*map(str, Status), "refused", "left"},
        "verdict": set(map(str, AppendReply)),
        "standing": set(map(str, Standing)),
        "tier": {"gateway", "worker"},
        "le": {*map(str, TTFT_BUCKETS), *map(str, ITL_BUCKETS)},
    }
    for expr in [*(each.expr for each in shown()), *(rule["expr"] for rule in ruled())]:
        for label, values in re.findall(r'(\w+)[=!]~?"([^"]*)"', expr):
            if label in known:
                assert set(values.split("|")) <= known[label], (label, values)


# ---- dashboards


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_whole(path):
    dashboard = json.loads(path.read_text())
    assert dashboard["uid"] == path.stem
    assert dashboard["title"]
    assert dashboard["schemaVersion"] >= 39
    every = list(panels(dashboard))
    assert len({panel["id"] for panel in every}) == len(every)
    for panel in every:
        if panel["type"] == "row":
            continue
        assert len(panel["description"]) > 20, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        letters = [target["refId"] for target in panel["targets"]]
        assert letters
        assert len(set(letters)) == len(letters)
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_no_two_panels_overlap(path):
    grids = [panel["gridPos"] for panel in panels(json.loads(path.read_text()))]
    assert all(grid["x"] + grid["w"] <= COLUMNS for grid in grids)
    for a, b in itertools.combinations(grids, 2):
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert apart or above, (a, b)


def test_few_panels_may_be_empty():
    empty = {each.panel for each in shown() if MAY_BE_EMPTY in each.description}
    assert len(empty) <= 4


def test_dashboards_are_found_and_know_their_data_source():
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert (source["uid"], source["type"], source["editable"]) == (DATASOURCE, "prometheus", False)
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "tokenwire.yml").read_text())["providers"]
    assert provider["options"]["path"] == "/etc/grafana/dashboards"
    for path in DASHBOARDS:
        variables = json.loads(path.read_text())["templating"]["list"]
        (chosen,) = [each for each in variables if each["type"] == "datasource"]
        assert chosen["current"]["value"] == DATASOURCE


# ---- rules


def test_every_alert_says_what_it_is_and_where_to_read_on():
    pages = {"docs/operations.md": anchors(ROOT / "docs" / "operations.md")}
    alerts = [rule for rule in ruled() if "alert" in rule]
    assert len({rule["alert"] for rule in alerts}) >= 20
    for rule in alerts:
        assert rule["labels"]["severity"] in ("page", "ticket")
        notes = rule["annotations"]
        assert notes["summary"]
        assert notes["description"]
        page, _, anchor = notes["runbook"].partition("#")
        assert anchor in pages[page], rule["alert"]


def anchors(page):
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_prometheus_loads_all_rules():
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    assert config["rule_files"] == ["rules/*.yml"]
    assert {path.name for path in RULES} == {"health.yml", "slo.yml"}
