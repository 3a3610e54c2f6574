"""The published schema is the code's, and what the gateway renders is what it describes."""

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft202012Validator
from msgspec import structs

from gateway import protocol_schema
from gateway.errors import TABLE, CloseCode, Code, WireError
from gateway.render import DeltaFrame, render
from gateway.response import snapshot
from shared.log import Entry, Kind, Reason
from shared.logprobs import Scored, encode
from shared.request import Message, Request, Sampling

SCHEMA = protocol_schema.schema()
PAGE = Path(__file__).parents[2] / "docs/protocol.schema.json"
REQUEST = Request(
    response_id="resp_" + "0" * 35,
    model="echo",
    principal="dev",
    messages=(Message("user", "Hello"),),
    sampling=Sampling(max_tokens=16, seed=7),
    keep=-1.0,
)


def validator(name):
    return Draft202012Validator({**SCHEMA, "$ref": f"#/$defs/{name}"})


def log_of(reason, *, started=True, message=""):
    """A whole log that ends so."""
    begun = [Entry(5, 4, Kind.STARTED, 3, owner="w"), Entry(5, 5, Kind.DELTA, 1, text="a", ids=(1,))]
    queued = Entry(0, 1, Kind.QUEUED, 1, at=1)
    ended = Entry(6, 9 if started else 2, Kind.ENDED, 4 if started else 1, reason=reason, message=message)
    return [queued, *(begun if started else []), ended]


def events_of(entries):
    told = snapshot(entries)
    return [
        json.loads(event.payload)
        for entry in entries
        for event in render(REQUEST, 1_700_000_000_000, entry, told)
    ]


def test_the_published_schema_is_the_codes():
    assert PAGE.read_text() == protocol_schema.render(), (
        "run python -m gateway.protocol_schema > docs/protocol.schema.json"
    )
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("reason", Reason)
def test_every_rendered_event_is_described_field_by_field(reason, started):
    for event in events_of(log_of(reason, started=started, message="It broke.")):
        validator(event["type"]).validate(event)
        described = SCHEMA["$defs"][event["type"]]["properties"]
        assert event.keys() <= described.keys()
        for name, part in (("response", "response"), ("item", "item"), ("part", "part")):
            if name in event:
                assert event[name].keys() <= SCHEMA["$defs"][part]["properties"].keys()


def test_logprobs_are_described_wherever_they_stand():
    logprobs = encode([Scored("a", -0.5, (("a", -0.5), ((0xF0, 0x9F), -1.5)))])
    entries = [replace(each, logprobs=logprobs if each.text else "") for each in log_of(Reason.STOP)]
    request = structs.replace(REQUEST, sampling=structs.replace(REQUEST.sampling, top_logprobs=2))
    told = snapshot(entries)
    events = [json.loads(event.payload) for entry in entries for event in render(request, 0, entry, told)]
    for event in events:
        validator(event["type"]).validate(event)
    shown = [event["logprobs"] for event in events if "logprobs" in event]
    assert len(shown) == 2
    for (logprob,) in shown:
        assert logprob.keys() == SCHEMA["$defs"]["logprob"]["properties"].keys()


def test_a_merged_delta_is_described():
    event = json.loads(DeltaFrame(REQUEST.response_id, 5, "lane").merged(4, 6, b"abc"))
    validator("response.output_text.delta").validate(event)
    assert event.keys() <= SCHEMA["$defs"]["response.output_text.delta"]["properties"].keys()


@pytest.mark.parametrize("code", Code)
def test_every_error_is_described_in_all_its_forms(code):
    error = WireError(code, param="x", event_id="e", retry_after=1)
    validator("error").validate(msgspec.json.decode(error.event("lane")))
    validator("http_error").validate(msgspec.json.decode(error.http()))
    validator("sse_error").validate(msgspec.json.decode(error.datum()))
    assert SCHEMA["x-errors"][code.value]["status"] == TABLE[code].status


def test_every_close_code_is_told():
    assert set(SCHEMA["x-close-codes"]) == {str(int(code)) for code in CloseCode}
