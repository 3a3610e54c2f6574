import json

from gateway.dialect import Events, sse
from gateway.errors import Code, WireError
from gateway.render import DELTA, DeltaFrame, Event

RESPONSE = "resp_000" + "0" * 32


def read(stream):
    """Read server-sent events as a browser does (WHATWG HTML): name, last id and data of each."""
    for block in stream.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        yield fields.get("event"), fields.get("id"), json.loads(fields["data"])


def test_an_events_number_is_its_id_so_that_a_reconnect_tells_it():
    events = [Event("response.created", 0, b'{"a":1}'), Event("response.in_progress", 1, b'{"a":2}')]
    told = list(read(b"".join(Events(RESPONSE).events(events))))
    assert told == [("response.created", "0", {"a": 1}), ("response.in_progress", "1", {"a": 2})]
    assert b"".join(Events(RESPONSE).events(events[:1])) == sse("response.created", 0, b'{"a":1}')


def test_a_delta_is_the_sockets_own_in_a_frame():
    framed, plain = Events(RESPONSE).frame(7, scored=False), DeltaFrame(RESPONSE, 7)
    ((kind, last, datum),) = read(framed.one(4, b"x"))
    assert (kind, last, datum) == (DELTA, "4", json.loads(plain.one(4, b"x")))
    assert framed.merged(4, 4, b"x") == framed.one(4, b"x")


def test_joined_deltas_have_the_number_of_the_last_as_their_id():
    framed, plain = Events(RESPONSE).frame(7, scored=False), DeltaFrame(RESPONSE, 7)
    ((kind, last, datum),) = read(framed.merged(4, 9, b"xyz"))
    assert (kind, last, datum) == (DELTA, "9", json.loads(plain.merged(4, 9, b"xyz")))
    assert (datum["first_sequence_number"], datum["delta"]) == (4, "xyz")


def test_an_error_has_no_id_so_that_a_reconnect_asks_for_what_is_missing():
    assert Events(RESPONSE).resumable
    ((kind, last, datum),) = read(Events(RESPONSE).error(WireError(Code.RESUME_UNAVAILABLE)))
    assert (kind, last, datum["code"]) == ("error", None, "resume_unavailable")
