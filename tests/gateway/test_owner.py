"""A response is its principal's: to anybody else its id looks exactly like one that never was."""

import contextlib

import pytest
from credentials import bearer, make_key
from gateway_fleet import on_server

from shared.log import new_response_id
from shared.store.access import RedisAccess
from shared.store.link import Link

UNTOLD = {"date", "x-request-id"}
"""Headers that differ between any two answers."""


@contextlib.asynccontextmanager
async def theirs(url, state):
    """Gateways where alice has a response in some state; yields them with bob's credential and the id."""
    async with on_server(url, 2, auth=("keys",)) as benches:
        link = Link.to(url)
        try:
            alice, bob = [bearer((await make_key(RedisAccess(link), name)).text) for name in ("alice", "bob")]
            async with benches[0].http() as http:
                asked = {"input": "secret", "background": True, "store": True}
                answer = await http.post("/v1/responses", headers=alice, json=asked)
            response_id = answer.json()["id"]
            if state != "waiting":
                claim = await benches[0].hand.claim()
                await benches[0].hand.say(claim, "Hel", "lo")
            if state == "ended":
                await benches[0].hand.finish(claim)
            yield benches, alice, bob, response_id
        finally:
            await link.close()


def requests_about(response_id):
    path = f"/v1/responses/{response_id}"
    return {
        "get": ("GET", path, None),
        "get a stream": ("GET", f"{path}?stream=true", None),
        "get from a cursor": ("GET", f"{path}?stream=true&starting_after=2", None),
        "get beyond the end": ("GET", f"{path}?stream=true&starting_after=9000", None),
        "list the input": ("GET", f"{path}/input_items", None),
        "cancel": ("POST", f"{path}/cancel", None),
        "delete": ("DELETE", path, None),
        "go on from it": ("POST", "/v1/responses", {"input": "x", "previous_response_id": response_id}),
        "stream on from it": (
            "POST",
            "/v1/responses",
            {"input": "x", "stream": True, "previous_response_id": response_id},
        ),
    }


async def over_http(bench, headers, asked):
    method, path, body = asked
    async with bench.http() as http:
        answer = await http.request(method, path, headers=headers, json=body)
    told = {name: value for name, value in answer.headers.items() if name not in UNTOLD}
    return answer.status_code, told, answer.content


@pytest.mark.parametrize("state", ["waiting", "running", "ended"])
@pytest.mark.parametrize("what", requests_about("x"))
async def test_over_http_a_foreign_response_looks_like_none(valkey, state, what):
    async with theirs(valkey, state) as ((_, other), alice, bob, response_id):
        unknown = new_response_id(0)
        foreign = await over_http(other, bob, requests_about(response_id)[what])
        nothing = await over_http(other, bob, requests_about(unknown)[what])
        assert foreign == nothing
        assert foreign[0] in (400, 404)
        assert response_id.encode() not in foreign[2]
        assert (await over_http(other, alice, requests_about(response_id)["get"]))[0] == 200


def messages_about(response_id):
    return {
        "resume": {"type": "response.resume", "response_id": response_id},
        "resume from a cursor": {
            "type": "response.resume",
            "response_id": response_id,
            "starting_after": 2,
            "epoch": 5,
        },
        "resume beyond the end": {
            "type": "response.resume",
            "response_id": response_id,
            "starting_after": 9000,
        },
        "cancel": {"type": "response.cancel", "response_id": response_id},
        "go on from it": {"type": "response.create", "input": "x", "previous_response_id": response_id},
    }


async def over_a_socket(bench, headers, message, query=""):
    async with bench.client(query, additional_headers=headers) as client:
        if message:
            await client.send(**message, event_id="e")
        return await client.event()


@pytest.mark.parametrize("state", ["waiting", "running", "ended"])
@pytest.mark.parametrize("what", messages_about("x"))
async def test_over_a_socket_a_foreign_response_looks_like_none(valkey, state, what):
    async with theirs(valkey, state) as ((_, other), alice, bob, response_id):
        foreign = await over_a_socket(other, bob, messages_about(response_id)[what])
        assert foreign == await over_a_socket(other, bob, messages_about(new_response_id(0))[what])
        assert foreign["type"] == "error"
        assert foreign["error"]["code"].endswith("response_not_found")
        assert (await over_http(other, alice, requests_about(response_id)["get"]))[0] == 200


async def test_in_the_handshakes_query_a_foreign_response_looks_like_none(valkey):
    async with theirs(valkey, "running") as ((_, other), alice, bob, response_id):
        foreign = await over_a_socket(other, bob, None, f"?response_id={response_id}&starting_after=2")
        unknown = await over_a_socket(other, bob, None, f"?response_id={new_response_id(0)}&starting_after=2")
        assert foreign == unknown
        own = await over_a_socket(other, alice, None, f"?response_id={response_id}&starting_after=2")
        assert own["sequence_number"] == 3


async def test_an_idempotency_key_leads_to_nobody_elses_response(valkey):
    async with theirs(valkey, "ended") as ((first, _), alice, bob, _), first.http() as http:
        asked = {"input": "x", "background": True, "idempotency_key": "k"}
        ids = [
            (await http.post("/v1/responses", headers=who, json=asked)).json()["id"]
            for who in (alice, bob, alice)
        ]
        assert ids[0] == ids[2] != ids[1]
