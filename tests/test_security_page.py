"""docs/security.md names tests that exist, for every refusal that the door knows, and its codes are the code's."""

import ast
import re
from pathlib import Path

import pytest

from gateway.errors import TABLE, Code
from gateway.settings import GatewaySettings
from shared.settings import settings_of

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "security.md").read_text()
NAMED = re.findall(r"`([\w/]+\.py)::(test_\w+)`", PAGE)


@pytest.mark.parametrize(("file", "name"), NAMED, ids=lambda part: part)
def test_every_test_named_exists(file, name):
    tree = ast.parse((ROOT / "tests" / file).read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert name in [node.name for node in functions]


def test_every_row_of_the_checks_and_limits_names_a_test():
    rows = [line for line in PAGE[PAGE.index("## The checks") :].splitlines() if line.startswith("| ")]
    bodies = [row for row in rows if not re.match(r"\| (check|limit) \|", row)]
    assert len(bodies) == len(NAMED) > 50
    assert all("::test_" in row for row in bodies)


@pytest.mark.parametrize(("status", "code"), sorted(set(re.findall(r"(\d{3}) `(\w+)`", PAGE))))
def test_a_refusal_has_the_status_that_the_table_says(status, code):
    row = TABLE[Code(code)]
    over_http = {"message_too_large": {413, 431}}  # 431 for a header block
    assert int(status) in over_http.get(code, {row.status})


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([A-Z]+_[A-Z_]+)\b", PAGE))))
def test_a_setting_named_is_one(name):
    assert name in {known.env for _, _, known, _ in settings_of(GatewaySettings)}
