"""What is read of a request, and what of it is refused."""

import pytest
from gateway_bench import dialled, rest_of

from gateway import requests
from gateway.requests import BODY_BYTES, until_gone


async def test_a_body_too_large_is_refused(bench):
    async with bench.http() as client:
        answer = await client.post("/v1/responses", content=b" " * (BODY_BYTES + 1))
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "message_too_large"


@pytest.mark.parametrize("coding", ["gzip", "br", "gzip, identity", "GZIP"])
async def test_a_compressed_body_is_refused_by_name(bench, coding):
    body = b'{"input":"x","background":true}'
    async with bench.http() as client:
        answer = await client.post("/v1/responses", content=body, headers={"Content-Encoding": coding})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (
            400,
            "invalid_request",
            "Content-Encoding",
        )
        plain = await client.post("/v1/responses", content=body, headers={"Content-Encoding": "Identity"})
        assert plain.status_code == 200


async def test_a_body_that_does_not_come_is_refused_in_time(bench, monkeypatch):
    monkeypatch.setattr(requests, "BODY_SECONDS", 0.1)
    async with dialled(bench) as (reader, writer):
        writer.write(b"POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 90\r\n\r\n{")
        answer = await rest_of(reader)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"request_timeout" in answer


@pytest.mark.parametrize("said", ["x", "-2", "1.5", "1" * 16, "1 2"])
async def test_a_last_event_that_is_no_number_is_refused(bench, said):
    async with bench.http() as client:
        created = (await client.post("/v1/responses", json={"input": "x", "background": True})).json()
        path = f"/v1/responses/{created['id']}?stream=true"
        answer = await client.get(path, headers={"Last-Event-ID": said})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "Last-Event-ID")


@pytest.mark.parametrize("response_id", ["x", "resp_", "resp_000" + "G" * 32, "*", "%7BpK%7D"])
async def test_what_cannot_be_a_response_id_never_becomes_a_key(bench, response_id):
    async with bench.http() as client:
        for method, rest in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
            answer = await client.request(method, f"/v1/responses/{response_id}{rest}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "response_not_found")


async def test_a_client_has_gone_when_the_server_says_so_and_not_before():
    messages = [{"type": "http.request", "body": b"more"}, {"type": "http.disconnect"}]
    left = []

    async def receive():
        assert not left
        return messages.pop(0)

    await until_gone(receive, lambda: left.append(len(messages)))
    assert left == [0]
