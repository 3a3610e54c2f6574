"""The page of the wire names everything there is."""

import re
from pathlib import Path

import pytest

from gateway import protocol_schema
from gateway.completions import CHAT_NEUTRAL, COMPLETION_NEUTRAL, MESSAGE_NEUTRAL, Chat, Completion
from gateway.create import NEUTRAL, Create
from gateway.errors import TABLE, CloseCode, Code

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()


TABLES = {
    "Fields": (Create.__struct_fields__, [*NEUTRAL]),
    "Fields of chat completions": (Chat.__struct_fields__, [*CHAT_NEUTRAL, *MESSAGE_NEUTRAL]),
    "Fields of completions": (Completion.__struct_fields__, [*COMPLETION_NEUTRAL]),
}


def table(title):
    """Return the fields of a table by what is done with them."""
    section = re.search(rf"^### {title}\n(.*?)^##", PAGE, re.MULTILINE | re.DOTALL)[1]
    rows = re.findall(r"^\|([^|]*)\| (used|neutral) \|", section, re.MULTILINE)
    return {
        kind: sorted({name for cells, said in rows if said == kind for name in re.findall(r"`(\w+)`", cells)})
        for kind in ("used", "neutral")
    }


@pytest.mark.parametrize("title", TABLES)
def test_the_table_of_fields_is_the_codes(title):
    used, neutral = TABLES[title]
    assert table(title) == {"used": sorted(used), "neutral": sorted({*neutral} - {*used})}


@pytest.mark.parametrize("code", Code)
def test_every_error_is_in_the_table_with_its_status(code):
    assert re.search(rf"^\|[^|]*`{code.value}`[^|]*\| {TABLE[code].status}\b", PAGE, re.MULTILINE)


@pytest.mark.parametrize("code", CloseCode)
def test_every_close_code_is_in_the_table(code):
    assert re.search(rf"^\| {int(code)} \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize("kind", protocol_schema.schema()["$defs"]["server_event"]["anyOf"])
def test_every_event_is_named(kind):
    assert f"{kind['$ref'].rpartition('/')[2]}" in PAGE
