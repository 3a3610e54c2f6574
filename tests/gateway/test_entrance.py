"""Who comes in through both doors and when they have to go: real gateways over a real server."""

import asyncio
import contextlib
import json
import time

import pytest
from credentials import Issuer, bearer, make_key, token
from gateway_bench import PATIENCE, until
from gateway_fleet import on_server
from websockets.exceptions import InvalidStatus

from gateway.entrance import make_entrance
from gateway.settings import GatewaySettings
from shared.store.access import RedisAccess
from shared.store.link import Link

LISTED = "https://chat.example"


@contextlib.asynccontextmanager
async def guarded(url, gateways=1, **changes):
    """Gateways that ask for keys, and the place where these are made."""
    settings = {"auth": ("keys",), "origins": (LISTED,)} | changes
    async with on_server(url, gateways, **settings) as benches:
        link = Link.to(url)
        try:
            yield benches, RedisAccess(link)
        finally:
            await link.close()


async def refused(bench, query="", **options):
    with pytest.raises(InvalidStatus) as caught:
        async with bench.client(query, **options):
            pass
    response = caught.value.response
    return response.status_code, json.loads(response.body)["error"]["code"]


# ---- in


async def test_both_doors_ask_for_a_key_and_take_a_good_one(valkey):
    async with guarded(valkey) as ([bench], access):
        key = await make_key(access, "alice")
        for credential in ({}, bearer("wrong"), bearer(key.text[:-1]), {"Authorization": "Basic eA=="}):
            assert await refused(bench, additional_headers=credential) == (401, "invalid_api_key")
            async with bench.http() as http:
                answer = await http.get("/v1/models", headers=credential)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
        async with bench.client(additional_headers=bearer(key.text)) as client:
            await client.create()
            await bench.hand.answer("Hi")
            await client.until("response.completed")
        async with bench.http() as http:
            assert (await http.get("/v1/models", headers=bearer(key.text))).status_code == 200


@pytest.mark.parametrize("name", ["api_key", "key", "token", "access_token", "authorization"])
async def test_a_key_in_the_query_is_no_key(valkey, name):
    async with guarded(valkey) as ([bench], access):
        key = await make_key(access, "alice")
        assert await refused(bench, f"?{name}={key.text}") == (401, "invalid_api_key")
        async with bench.http() as http:
            assert (await http.get(f"/v1/models?{name}={key.text}")).status_code == 401


async def test_the_page_itself_needs_no_key(valkey, tmp_path):
    (tmp_path / "index.html").write_text("hello")
    async with guarded(valkey, page_dir=tmp_path) as ([bench], _), bench.http() as http:
        assert (await http.get("/")).status_code == 200


async def test_a_token_of_the_issuer_comes_in(valkey):
    with Issuer() as issuer:
        settings = {"auth": ("keys", "jwt"), "jwt_issuer": "https://issuer.example"}
        settings |= {"jwt_audience": "tokenwire", "jwt_jwks": issuer.url}
        async with guarded(valkey, **settings) as ([bench], access), bench.http() as http:
            key = await make_key(access, "alice")
            for credential, status in ((token(), 200), (key.text, 200), (token(aud="other"), 401)):
                assert (await http.get("/v1/models", headers=bearer(credential))).status_code == status


async def test_an_issuer_out_of_reach_is_our_fault_and_not_the_clients(valkey):
    with Issuer(status=500) as issuer:
        settings = {"auth": ("jwt",), "jwt_issuer": "https://issuer.example"}
        settings |= {"jwt_audience": "tokenwire", "jwt_jwks": issuer.url}
        async with guarded(valkey, **settings) as ([bench], _), bench.http() as http:
            answer = await http.get("/v1/models", headers=bearer(token()))
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")


async def test_guessing_is_slowed_down_at_both_doors_together(valkey):
    async with guarded(valkey, failures_per_address=3) as ([bench], _), bench.http() as http:
        for _ in range(3):
            assert (await http.get("/v1/models", headers=bearer("guess"))).status_code == 401
        answer = await http.get("/v1/models", headers=bearer("guess"))
        assert answer.status_code == 429
        assert 10 < int(answer.headers["retry-after"]) <= 20
        assert await refused(bench, additional_headers=bearer("guess")) == (429, "rate_limit_exceeded")


async def test_behind_a_trusted_proxy_each_client_is_slowed_down_for_itself(valkey):
    settings = {"failures_per_address": 1, "trusted_proxies": ("127.0.0.0/8",)}
    async with guarded(valkey, **settings) as ([bench], _), bench.http() as http:
        statuses = [
            (
                await http.get(
                    "/v1/models", headers=bearer("guess") | {"X-Forwarded-For": f"6.6.6.6, {client}"}
                )
            ).status_code
            for client in ("198.51.100.1", "198.51.100.1", "198.51.100.2")
        ]
        assert statuses == [401, 429, 401]


async def test_where_only_https_is_served_the_answer_tells_browsers_to_stay_there(valkey):
    settings = {"https_only": True, "trusted_proxies": ("127.0.0.0/8",)}
    async with guarded(valkey, **settings) as ([bench], access), bench.http() as http:
        headers = bearer((await make_key(access, "alice")).text)
        plain = await http.get("/v1/models", headers=headers)
        assert (plain.status_code, plain.json()["error"]["code"]) == (403, "https_required")
        assert await refused(bench, additional_headers=headers) == (403, "https_required")
        secure = await http.get("/v1/models", headers=headers | {"X-Forwarded-Proto": "https"})
        assert secure.status_code == 200
        assert "max-age=" in secure.headers["strict-transport-security"]


# ---- tickets


async def ticket_of(bench, key, **headers):
    async with bench.http() as http:
        answer = await http.post("/v1/ws-tickets", headers=bearer(key.text) | headers)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["expires_in"] <= 30
    return answer.json()["ticket"]


async def test_a_page_comes_in_with_a_ticket_at_another_gateway(valkey):
    async with guarded(valkey, 2) as ([first, second], access):
        key = await make_key(access, "alice")
        ticket = await ticket_of(first, key, Origin=LISTED)
        assert len(ticket) >= 22, "22 letters of base64 hold 128 bits"
        options = {"origin": LISTED, "subprotocols": ["tokenwire.v1", f"tokenwire.ticket.{ticket}"]}
        async with second.client(**options) as client:
            assert client.connection.subprotocol == "tokenwire.v1"
            await client.create()
            created = await client.event()
        assert await refused(first, **options) == (401, "invalid_api_key")
        async with first.http() as http:
            found = await http.get(f"/v1/responses/{created['response']['id']}", headers=bearer(key.text))
        assert found.status_code == 200, "the ticket's responses are its principal's"


async def test_a_ticket_may_stand_in_the_query_and_never_in_the_log(valkey):
    async with guarded(valkey) as ([bench], access):
        ticket = await ticket_of(bench, await make_key(access, "alice"), Origin=LISTED)
        async with bench.client(f"?ticket={ticket}", origin=LISTED) as client:
            assert client.connection.subprotocol is None
        assert await refused(bench, f"?ticket={ticket}", origin=LISTED) == (401, "invalid_api_key")
        assert ticket not in bench.logged.getvalue()


async def test_a_ticket_is_for_its_page_alone_and_a_page_is_always_named(valkey):
    async with guarded(valkey, origins=(LISTED, "https://b.example")) as ([bench], access):
        key = await make_key(access, "alice")
        ticket = await ticket_of(bench, key, Origin=LISTED)
        assert await refused(bench, f"?ticket={ticket}", origin="https://b.example") == (
            401,
            "invalid_api_key",
        )
        ticket = await ticket_of(bench, key)
        assert await refused(bench, f"?ticket={ticket}") == (403, "origin_not_allowed")
        async with bench.http() as http:
            asked = await http.post(
                "/v1/ws-tickets", headers=bearer(key.text), json={"origin": "https://b.example"}
            )
        async with bench.client(f"?ticket={asked.json()['ticket']}", origin="https://b.example"):
            pass


async def test_a_ticket_is_no_key_and_nobody_gets_one_without(valkey):
    async with guarded(valkey) as ([bench], access), bench.http() as http:
        ticket = await ticket_of(bench, await make_key(access, "alice"), Origin=LISTED)
        assert (await http.post("/v1/ws-tickets", headers=bearer(ticket))).status_code == 401
        assert (await http.get(f"/v1/models?ticket={ticket}", headers={"Origin": LISTED})).status_code == 401
        for method in ("get", "post"):
            assert (await getattr(http, method)("/v1/ws-tickets")).status_code == 401


async def test_in_development_mode_there_are_tickets_too(bench):
    async with bench.http() as http:
        ticket = (await http.post("/v1/ws-tickets")).json()["ticket"]
    async with bench.client(subprotocols=["tokenwire.v1", f"tokenwire.ticket.{ticket}"]) as client:
        assert client.connection.subprotocol == "tokenwire.v1"


# ---- out


async def test_a_revoked_keys_sockets_are_closed_on_all_gateways_and_nobody_elses(valkey):
    async with guarded(valkey, 2) as (benches, access), contextlib.AsyncExitStack() as stack:
        alice, other, bob = [await make_key(access, name) for name in ("alice", "alice", "bob")]
        sockets = {
            (key.id, at): await stack.enter_async_context(bench.client(additional_headers=bearer(key.text)))
            for key in (alice, other, bob)
            for at, bench in enumerate(benches)
        }
        await access.revoke_key(alice.id)
        assert [await sockets[alice.id, at].closed() for at in (0, 1)] == [1008, 1008]
        for key in (other, bob):
            for at in (0, 1):
                await sockets[key.id, at].send(type="response.cancel")
                assert (await sockets[key.id, at].event())["error"]["code"] == "response_not_active"
        for bench in benches:
            assert await refused(bench, additional_headers=bearer(alice.text)) == (401, "invalid_api_key")
            (line,) = bench.lines("expelled")
            assert (line["principal"], line["credential"]) == ("alice", alice.id)


async def test_a_lost_message_is_made_up_for_by_the_next_look(valkey):
    async with guarded(valkey, recheck_seconds=1.0) as ([bench], access):
        key = await make_key(access, "alice")
        async with bench.client(additional_headers=bearer(key.text)) as client:
            link = Link.to(valkey)
            await link.command("HDEL", "{auth}k", key.id)  # as if nobody had been told
            await link.close()
            assert await client.closed() == 1008


async def test_a_revoked_principals_tokens_lose_their_sockets(valkey):
    with Issuer() as issuer:
        settings = {"auth": ("jwt",), "jwt_issuer": "https://issuer.example"}
        settings |= {"jwt_audience": "tokenwire", "jwt_jwks": issuer.url}
        async with guarded(valkey, **settings) as ([bench], access):
            alice, bob = (bearer(token(name, iat=int(time.time()) - 5)) for name in ("alice", "bob"))
            async with (
                bench.client(additional_headers=alice) as closed,
                bench.client(additional_headers=bob) as stays,
            ):
                await access.revoke_principal("jwt:alice")
                assert await closed.closed() == 1008
                await stays.send(type="response.cancel")
                assert (await stays.event())["error"]["code"] == "response_not_active"
            assert await refused(bench, additional_headers=alice) == (401, "invalid_api_key")


async def test_a_socket_ends_with_its_credential_and_with_its_tickets(valkey):
    async with guarded(valkey) as ([bench], access):
        key = await make_key(access, "alice", expires=int(time.time()) + 5)
        ticket = await ticket_of(bench, key, Origin=LISTED)
        async with (
            bench.client(additional_headers=bearer(key.text)) as by_key,
            bench.client(f"?ticket={ticket}", origin=LISTED) as by_ticket,
        ):
            assert await by_key.closed() == 1008
            assert await by_ticket.closed() == 1008
        assert [line["reason"] for line in bench.lines("expelled")] == ["the credential has expired"] * 2


async def read_all(http, key, path, **body):
    """Read a streamed answer to its end, or to where it was cut."""
    async with http.stream("POST", path, headers=bearer(key.text), json={"stream": True, **body}) as answer:
        assert answer.status_code == 200
        return [line async for line in answer.aiter_lines()]


@pytest.mark.parametrize(
    ("path", "body", "last"),
    [
        ("/v1/responses", {"input": "Hello"}, 'data: {"type":"error","code":"invalid_api_key"'),
        (
            "/v1/chat/completions",
            {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}]},
            'data: {"error":{',
        ),
        ("/v1/completions", {"model": "tiny", "prompt": "Hello"}, 'data: {"error":{'),
    ],
)
async def test_a_revoked_keys_streams_end_with_the_reason_and_their_responses_too(valkey, path, body, last):
    async with guarded(valkey) as ([bench], access), bench.http() as http:
        key = await make_key(access, "alice")
        reading = asyncio.create_task(read_all(http, key, path, **body))
        claim = await bench.hand.claim()
        await bench.hand.say(claim, "Hel", "lo")
        await until(lambda: bench.metric("connections", door="sse") == 1)
        await access.revoke_key(key.id)
        async with asyncio.timeout(PATIENCE):
            lines = await reading
        final = [line for line in lines if line][-1]
        assert final.startswith(last)
        assert '"code":"invalid_api_key"' in final
        assert "[DONE]" not in "".join(lines)
        link = Link.to(valkey)
        await until_status(link, claim.response_id, b"cancelled")
        await link.close()


async def until_status(link, response_id, status):
    async with asyncio.timeout(PATIENCE):
        while await link.command("HGET", f"{{p0}}r:{response_id}", "status") != status:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)


async def test_a_revoked_keys_unfinished_answer_is_a_refusal(valkey):
    async with guarded(valkey) as ([bench], access), bench.http() as http:
        key = await make_key(access, "alice")
        asking = asyncio.create_task(
            http.post("/v1/responses", headers=bearer(key.text), json={"input": "Hello"})
        )
        await bench.hand.claim()
        await access.revoke_key(key.id)
        async with asyncio.timeout(PATIENCE):
            assert (await asking).status_code == 401


async def test_who_is_inside_stays_while_the_store_is_away():
    class Away:
        async def key(self, _):
            raise AssertionError("nobody needs to be asked")

    entrance = make_entrance(
        GatewaySettings(auth=("keys",), api_keys=("bob:" + "k" * 20,)), Away(), time.monotonic, None
    )
    principal = await entrance.admit(
        lambda name: [f"Bearer {'k' * 20}"] if name == "Authorization" else [], "127.0.0.1"
    )
    assert principal.name == "bob"
    assert await entrance.doorkeeper.still(principal)


async def test_where_the_store_is_full_there_is_no_ticket_and_a_key_can_still_be_revoked(valkey):
    async with guarded(valkey) as ([bench], access), bench.http() as http:
        key = await make_key(access, "alice")
        assert (await http.get("/v1/models", headers=bearer(key.text))).status_code == 200
        link = Link.to(valkey)
        try:
            await link.command("CONFIG", "SET", "maxmemory", "1")
            answer = await http.post("/v1/ws-tickets", headers=bearer(key.text))
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "storage_full")
            assert await access.revoke_key(key.id)
        finally:
            await link.command("CONFIG", "SET", "maxmemory", "0")
            await link.close()
        await until(lambda: bench.gateway._entrance.doorkeeper._keys._cache.get(key.id) is None)
        assert (await http.get("/v1/models", headers=bearer(key.text))).status_code == 401


async def test_a_key_that_is_taken_out_of_the_file_loses_its_sockets(valkey, tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"carol:{'c' * 20}\ndave:{'d' * 20}\n")
    settings = {"api_keys_file": file, "recheck_seconds": 1.0}
    async with (
        guarded(valkey, **settings) as ([bench], _),
        bench.client(additional_headers=bearer("c" * 20)) as carol,
        bench.client(additional_headers=bearer("d" * 20)) as dave,
    ):
        file.write_text(f"dave:{'d' * 20}\n")
        assert await carol.closed() == 1008
        await dave.send(type="response.cancel")
        assert (await dave.event())["error"]["code"] == "response_not_active"
        assert await refused(bench, additional_headers=bearer("c" * 20)) == (401, "invalid_api_key")
