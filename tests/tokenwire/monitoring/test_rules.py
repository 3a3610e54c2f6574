"""Prometheus's own tool on what we give it: syntax, and every alert on its fault and without."""

import pytest
import yaml
from monitoring import DEPLOY, RULES, promtool, ruled

TESTS = sorted((DEPLOY / "prometheus" / "tests").glob("*.yml"))


def test_promtool_takes_the_configuration():
    promtool("check", "config", DEPLOY / "prometheus" / "prometheus.yml")


def test_promtool_takes_the_rules():
    promtool("check", "rules", *RULES)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_on_their_fault_and_are_silent_without(path):
    promtool("test", "rules", path)


def test_every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_is_silent():
    fires, silent = set(), set()
    for path in TESTS:
        for case in yaml.safe_load(path.read_text())["tests"]:
            for each in case["alert_rule_test"]:
                (fires if each["exp_alerts"] else silent).add(each["alertname"])
    alerts = {rule["alert"] for rule in ruled() if "alert" in rule}
    assert fires == alerts
    assert silent == alerts


def test_an_alert_that_is_broken_on_purpose_fails_its_test(tmp_path):
    (tmp_path / "rules").mkdir()
    (tmp_path / "tests").mkdir()
    text = (DEPLOY / "prometheus" / "rules" / "health.yml").read_text()
    assert "(tokenwire_workers) == 0" in text
    broken = text.replace("(tokenwire_workers) == 0", "(tokenwire_workers) == 1")
    (tmp_path / "rules" / "health.yml").write_text(broken)
    (tmp_path / "tests" / "health.yml").write_text(TESTS[0].read_text())
    assert "TokenwireNoWorker" in promtool("test", "rules", tmp_path / "tests" / "health.yml", expect=1)
