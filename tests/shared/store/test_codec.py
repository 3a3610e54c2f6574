"""What a newer version may have written: passed over where that is safe, else told, never guessed."""

from __future__ import annotations

import pytest

from shared.log import Kind, Status
from shared.request import Message, Request, Sampling, encode
from shared.store.codec import Unreadable, decode_entry, decode_log, decode_request, decode_status

DELTA = [b"9-5", [b"k", b"d", b"t", b"one ", b"i", b"1"]]
NEXT = [b"9-6", [b"k", b"d", b"t", b"two ", b"i", b"2"]]
NEWER_NOTE = [b"9-5", [b"k", b"z", b"note", b"x"]]
NEWER_EVENT = [b"9-6", [b"k", b"z", b"n", b"1"]]
NEWER_REASON = [b"9-9", [b"k", b"e", b"n", b"4", b"r", b"content_filter"]]


def test_an_unknown_letter_that_covers_no_event_is_passed_over():
    entries, problem = decode_log([DELTA, NEWER_NOTE, NEXT], 4)

    assert [entry.upto for entry in entries] == [5, 6]
    assert not problem


@pytest.mark.parametrize("unreadable", [NEWER_EVENT, NEWER_REASON, [b"9-6", [b"k", b"d", b"i", b"x"]]])
def test_what_covers_events_and_cannot_be_read_ends_what_is_shown(unreadable):
    entries, problem = decode_log([DELTA, unreadable, [b"9-10", DELTA[1]]], 4)

    assert [entry.upto for entry in entries] == [5]
    assert unreadable[0].decode() in problem


def test_unknown_fields_of_a_known_entry_are_left_out():
    assert decode_entry([b"9-5", [*DELTA[1], b"new", b"field"]]) == decode_entry(DELTA)


@pytest.mark.parametrize("fields", [[], [b"t", b"no letter"], [b"k", b"d", b"t", b"\xff"], [b"k"]])
def test_a_damaged_entry_is_unreadable_and_nothing_else(fields):
    with pytest.raises(Unreadable):
        decode_entry([b"9-5", fields])


@pytest.mark.parametrize("body", [b"", b"\xff", b"{}", b'{"response_id":"\xff"}', b"[", b'{"response_id":1}'])
def test_a_request_that_does_not_decode_is_unreadable_and_nothing_else(body):
    with pytest.raises(Unreadable):
        decode_request(body)


def test_why_a_request_is_unreadable_is_told_without_its_words():
    request = Request("resp_x", "m", "alice", (Message("user", "Hello"),), Sampling(16, 7))
    body = encode(request).replace(b'"user"', b'"a secret"')

    with pytest.raises(Unreadable, match="messages") as told:
        decode_request(body)
    assert "secret" not in str(told.value)


def test_a_status_of_a_newer_version_is_unreadable():
    assert decode_status(b"running") is Status.RUNNING
    with pytest.raises(Unreadable):
        decode_status(b"paused")


def test_every_letter_of_this_version_is_read():
    for kind in Kind:
        assert decode_entry([b"9-5", [b"k", kind.encode()]]).kind is kind
