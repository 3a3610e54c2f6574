"""The page of the wire names everything there is."""

import re
from pathlib import Path

import pytest

from gateway.create import NEUTRAL, Create
from gateway.errors import TABLE, CloseCode, Code
from tokenwire import protocol_schema

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "protocol.md").read_text()


@pytest.mark.parametrize("name", sorted({*Create.__struct_fields__, *NEUTRAL}))
def test_every_field_of_a_create_is_in_the_table(name):
    assert re.search(rf"^\|[^|]*`{name}`[^|]*\| (used|neutral) \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize("code", Code)
def test_every_error_is_in_the_table_with_its_status(code):
    assert re.search(rf"^\|[^|]*`{code.value}`[^|]*\| {TABLE[code].status}\b", PAGE, re.MULTILINE)


@pytest.mark.parametrize("code", CloseCode)
def test_every_close_code_is_in_the_table(code):
    assert re.search(rf"^\| {int(code)} \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize("kind", protocol_schema.schema()["$defs"]["server_event"]["anyOf"])
def test_every_event_is_named(kind):
    assert f"{kind['$ref'].rpartition('/')[2]}" in PAGE


@pytest.mark.parametrize("link", re.findall(r"\]\(((?!http|#)[^)]+)\)", PAGE))
def test_every_link_leads_somewhere(link):
    assert (DOCS / link.partition("#")[0]).exists()
