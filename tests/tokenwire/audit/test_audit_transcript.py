from __future__ import annotations

import msgspec
from gateway_logs import RESPONSE_ID
from histories import log_of, viewing_of

from tokenwire.audit.transcript import Shelf


def test_what_was_written_is_read_again_by_response(tmp_path):
    log = log_of(5)
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    one, two = viewing_of(log), viewing_of(log, viewer=1)
    other, refused = viewing_of(log, response_id="other"), viewing_of(log, response_id="", over="refused")
    first.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in (one, other, refused)))
    second.write_bytes(msgspec.json.encode(two) + b"\n")
    shelf = Shelf([first, second])
    assert len(shelf) == 2
    assert set(shelf.response_ids) == {RESPONSE_ID, "other"}
    assert shelf.viewings(RESPONSE_ID) == [one, two]
    assert shelf.unanswered() == [refused]
