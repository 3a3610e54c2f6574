"""docs/privacy.md speaks of every name in Redis, and of settings that exist with their defaults."""

import re
from pathlib import Path

import pytest

from gateway.settings import GatewaySettings
from shared.settings import settings_of
from shared.store import keys
from shared.store.access import LONGEST_SECONDS

PAGE = (Path(__file__).parent.parent / "docs" / "privacy.md").read_text()
ROWS = re.findall(r"^\| (``.*?``) \|.*\| ([^|]+) \|$", keys.__doc__, re.MULTILINE)
NAMES = [name for cell, _ in ROWS for name in re.findall(r"``(.*?)``", cell)]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_in_the_store_is_spoken_of(name):
    assert f"`{name}`" in PAGE


@pytest.mark.parametrize(("cell", "ends"), ROWS)
def test_every_name_ends_by_something_or_says_why_not(cell, ends):
    assert re.search(r"TTL|permanent|empties itself|a day after|^-$", ends), cell


@pytest.mark.parametrize(
    ("name", "value"), [("RETENTION_SECONDS", 600.0), ("CONVERSATION_SECONDS", 86_400.0)]
)
def test_the_times_are_the_settings_defaults(name, value):
    assert {known.env: default for _, _, known, default in settings_of(GatewaySettings)}[name] == value
    assert f"`{name}`" in PAGE


def test_the_fixed_times_are_the_codes():
    common = (Path(keys.__file__).parent / "scripts" / "common.lua").read_text()
    assert "400 * 86400" in common
    assert LONGEST_SECONDS == 30 * 86_400
