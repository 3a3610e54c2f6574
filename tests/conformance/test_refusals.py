"""Every bad input of docs/vectors/refusals.json gets the refusal that stands beside it, and harms nothing."""

import json

import pytest
from conformance_kit import REFUSALS, SCHEMA, described, orderly
from websockets.exceptions import InvalidStatus


def named(case):
    return case["name"]


@pytest.mark.parametrize("at", range(0, len(REFUSALS["messages"]), 20))
async def test_each_bad_message_gets_its_error_and_the_socket_goes_on(target, at):
    async with target.socket() as socket:
        for case in REFUSALS["messages"][at : at + 20]:
            await socket.connection.send(case["frame"])
            error = await socket.event()
            told = {name: error["error"][name] for name in ("code", "param")}
            assert told == case["error"], case["name"]
            assert error["status"] == SCHEMA["x-errors"][told["code"]]["status"]
            assert error.get("stream_id") == case.get("stream_id"), case["name"]
            assert error.get("event_id") == case.get("event_id"), case["name"]
        orderly(await socket.whole(2))


@pytest.mark.parametrize("case", REFUSALS["requests"], ids=named)
async def test_each_bad_request_gets_its_error(target, case):
    async with target.http() as http:
        answer = await http.request(
            case["method"], case["path"], content=case.get("body"), headers=case.get("headers")
        )
    described("http_error", answer.json())
    assert (answer.status_code, answer.json()["error"]["code"]) == (case["status"], case["code"])
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("case", REFUSALS["handshakes"], ids=named)
async def test_each_bad_handshake_gets_its_error(target, case):
    with pytest.raises(InvalidStatus) as refused:
        async with target.socket(case["query"], headers=case.get("headers", {})):
            pass
    answer = refused.value.response
    body = json.loads(answer.body)
    described("http_error", body)
    assert (answer.status_code, body["error"]["code"]) == (case["status"], case["code"])
