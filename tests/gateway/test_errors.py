import json

import pytest

from gateway.answers import error_answer
from gateway.errors import TABLE, Code, WireError


def test_every_code_has_a_row_with_a_sentence():
    assert set(TABLE) == set(Code)
    assert all(row.sentence.endswith(".") and 400 <= row.status < 600 for row in TABLE.values())


def test_the_socket_gets_a_nested_error_on_its_lane():
    event = json.loads(WireError(Code.OVERLOADED, retry_after=7).about("e1").event("a"))
    assert event["type"] == "error"
    assert event["status"] == 503
    assert event["stream_id"] == "a"
    assert event["event_id"] == "e1"
    assert event["error"]["code"] == "overloaded"
    assert event["error"]["retry_after"] == 7
    assert "sequence_number" not in event


def test_a_server_sent_stream_gets_a_flat_one():
    datum = json.loads(WireError(Code.SERVER_ERROR, "Oh.").datum())
    assert datum == {"type": "error", "code": "server_error", "message": "Oh.", "param": None}


def test_http_gets_the_same_body():
    body = json.loads(WireError(Code.INVALID_REQUEST, param="input").http())
    assert body["error"]["param"] == "input"
    assert body["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("code", [code for code, row in TABLE.items() if row.status in (429, 503)])
def test_what_passes_by_itself_says_when_to_ask_again(code):
    if code is Code.STREAM_LIMIT:
        assert WireError(code).retry_after is None  # a socket never gets its lanes back
        return
    assert WireError(code).body()["retry_after"] >= 1
    assert WireError(code, retry_after=7).body()["retry_after"] == 7
    assert error_answer(WireError(code)).headers["Retry-After"] == str(WireError(code).retry_after)
