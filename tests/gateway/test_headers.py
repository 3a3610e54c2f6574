"""What stands around every answer, and which pages may read it."""

import pytest
from gateway_bench import in_memory

PAGE = "https://page.example"
ASKS = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,x-stainless-os",
}


@pytest.fixture
async def bench():
    async with in_memory(origins=(PAGE,)) as made:
        yield made


@pytest.mark.parametrize("path", ["/v1/models", "/v1/nothing", "/v1/responses/resp_x"])
async def test_a_listed_page_may_read_every_answer(bench, path):
    async with bench.http() as client:
        answer = await client.get(path, headers={"Origin": PAGE})
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "Retry-After" in answer.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in answer.headers
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "https://page.example.evil.example",
        "https://page.example:443",
        "http://page.example",
        "https://PAGE.example",
        "https://page.example/",
        "null",
        "*",
        "",
    ],
)
async def test_any_other_page_is_refused_and_told_nothing(bench, origin):
    async with bench.http() as client:
        for answer in (
            await client.get("/v1/models", headers={"Origin": origin}),
            await client.options("/v1/responses", headers={"Origin": origin} | ASKS),
        ):
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_not_allowed")
            assert "Origin" in answer.headers["vary"]
            assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_listed_page_may_ask_with_any_header_it_names(bench):
    async with bench.http() as client:
        answer = await client.options("/v1/responses", headers={"Origin": PAGE} | ASKS)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-headers"] == "authorization,x-stainless-os"
    assert set(answer.headers["access-control-allow-methods"].split(", ")) == {"GET", "POST", "DELETE"}
    assert answer.headers["vary"].startswith("Origin, ")


async def test_a_header_that_is_none_is_not_sent_back(bench):
    asked = ASKS | {"Access-Control-Request-Headers": "a b;c"}
    async with bench.http() as client:
        answer = await client.options("/v1/responses", headers={"Origin": PAGE} | asked)
    assert answer.headers["access-control-allow-headers"] == "Authorization, Content-Type, Last-Event-ID"


async def test_who_sends_no_origin_gets_no_word_of_origins_but_that_they_matter(bench):
    async with bench.http() as client:
        answer = await client.get("/v1/models")
        page = await client.get("/")
    assert answer.headers["vary"] == "Origin"
    assert "access-control-allow-origin" not in answer.headers
    assert "vary" not in page.headers


async def test_head_is_get_without_a_body(bench):
    async with bench.http() as client:
        created = (await client.post("/v1/responses", json={"input": "x", "background": True})).json()
        path = f"/v1/responses/{created['id']}"
        assert (await client.head("/v1/models")).content == b""
        assert (await client.head(path)).headers["content-type"] == "application/json"
        stream = await client.head(path + "?stream=true")
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["x-accel-buffering"] == "no"
        assert (await client.head("/v1/responses/resp_x")).status_code == 404
        assert not list(bench.gateway.hub.attachments)
