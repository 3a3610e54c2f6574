from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.log import (
    STATUS_OF,
    Entry,
    Kind,
    LiveMessage,
    Reason,
    Status,
    escape,
    new_response_id,
    partition_of,
    unescape,
)

Text = st.text(st.characters(exclude_categories=["Cs"]))


@given(Text)
def test_escaped_text_is_the_inside_of_a_json_string(text: str):
    assert json.loads(f'"{escape(text)}"') == text
    assert unescape(escape(text)) == text


@given(st.lists(Text))
def test_escaped_pieces_join_to_the_escaped_whole(pieces: list[str]):
    assert "".join(map(escape, pieces)) == escape("".join(pieces))


@pytest.mark.parametrize("partition", [0, 1, 255, 4095])
def test_a_response_id_names_its_partition(partition: int):
    assert partition_of(new_response_id(partition)) == partition


def test_response_ids_do_not_repeat():
    assert len({new_response_id(0) for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "wrong", ["", "resp_", "resp_" + "g" * 35, "resp_" + "a" * 36, "x" * 40, "resp_+" + "a" * 34]
)
def test_what_is_not_a_response_id_is_refused(wrong: str):
    with pytest.raises(ValueError, match="not a response id"):
        partition_of(wrong)


def test_every_reason_has_one_terminal_status():
    assert set(STATUS_OF) == set(Reason)
    assert all(status.terminal for status in STATUS_OF.values())
    assert not Status.QUEUED.terminal
    assert not Status.RUNNING.terminal


def test_an_entry_covers_the_numbers_up_to_its_upto():
    assert Entry(1, 9, Kind.ENDED, 4).first == 5


def test_a_live_message_keeps_spaces_in_its_text():
    message = LiveMessage.parse(b"7 1 d 1795384282980 two  words ")

    assert message == LiveMessage(7, 1, b"d", 1795384282980, b"two  words ")


def test_what_is_not_a_live_message_is_refused():
    with pytest.raises(ValueError, match="unpack"):
        LiveMessage.parse(b"7 1 d")
