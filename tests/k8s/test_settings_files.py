"""The settings files that the ConfigMaps are made from name every setting, and show the defaults that hold."""

from __future__ import annotations

import re

import pytest
from manifest_rules import SETTINGS
from manifests import K8S

from shared.settings import settings_of, table

FILES = {"gateway": K8S / "base/gateway.env", "worker": K8S / "worker/worker.env"}
ELSEWHERE = {"gateway": {"PAGE_DIR"}, "worker": {"WORKER_NAME", "MODEL_CACHE"}}
"""What comes from the pod, or from the image; what is secret comes from a Secret."""


def lines(text):
    """Name, value and whether it only shows the default, of every line that names a setting."""
    for hidden, name, value in re.findall(r"^(# )?([A-Z_]+)=(.*)$", text, re.MULTILINE):
        yield name, value, bool(hidden)


def defaults(tier):
    cells = re.findall(r"^\| `(\w+)` \| (.*?) \|", table(SETTINGS[tier]), re.MULTILINE)
    return {name: cell.strip("`").replace("(none)", "") for name, cell in cells}


def missing(tier, text):
    """The lines that would have to be added."""
    secret = {setting.env for _, _, setting, _ in settings_of(SETTINGS[tier]) if setting.secret}
    named = {name for name, _, _ in lines(text)} | ELSEWHERE[tier] | secret
    return [f"# {name}={value}" for name, value in defaults(tier).items() if name not in named]


@pytest.mark.parametrize("tier", SETTINGS)
def test_every_setting_has_its_line(tier):
    lacking = missing(tier, FILES[tier].read_text())
    assert not lacking, "\n".join([f"add these lines to {FILES[tier]}:", *lacking])


@pytest.mark.parametrize("tier", SETTINGS)
def test_every_line_names_a_setting(tier):
    known = {setting.env for _, _, setting, _ in settings_of(SETTINGS[tier])}
    assert [name for name, _, _ in lines(FILES[tier].read_text()) if name not in known] == []


@pytest.mark.parametrize("tier", SETTINGS)
def test_what_a_line_shows_as_default_is_the_default(tier):
    shown = {name: value for name, value, hidden in lines(FILES[tier].read_text()) if hidden}
    assert shown == {name: defaults(tier)[name] for name in shown}


@pytest.mark.parametrize("tier", SETTINGS)
def test_no_line_sets_what_is_the_default_anyway(tier):
    given = {name: value for name, value, hidden in lines(FILES[tier].read_text()) if not hidden}
    assert [name for name, value in given.items() if value == defaults(tier)[name]] in (
        [],
        ["PORT"],
        ["PROBE_PORT"],
    )


def test_a_new_setting_is_asked_for():
    text = FILES["worker"].read_text().replace("# SLOTS=8\n", "")
    assert "# SLOTS=8" in missing("worker", text)
