"""How much each may use, over several real gateways and one real server."""

import asyncio
import contextlib
import json
import re

import pytest
from credentials import bearer, make_key
from gateway_bench import PATIENCE, until
from gateway_fleet import on_server
from websockets.exceptions import InvalidStatus

from gateway import meter as module
from gateway.meter import Meter, headers_of
from gateway.principal import Credential, Principal
from shared.quota import UNBOUNDED, Quota
from shared.request import Message, Request, Sampling
from shared.store.access import RedisAccess
from shared.store.contract import StoreUnavailable
from shared.store.link import Link
from shared.store.meters import Rate


@contextlib.asynccontextmanager
async def bounded(url, quota, gateways=1, **changes):
    """Gateways that ask for keys, alice's with a quota and one of bob's, and a connection to their server."""
    async with on_server(url, gateways, auth=("keys",), **changes) as benches:
        link = Link.to(url)
        access = RedisAccess(link)
        try:
            alice = await make_key(access, "alice", quota=quota)
            bob = await make_key(access, "bob")
            yield benches, bearer(alice.text), bearer(bob.text), link
        finally:
            await link.close()


async def handshake(bench, headers, stack):
    """Open a socket; return None, or the refusal."""
    try:
        return None, await stack.enter_async_context(bench.client(additional_headers=headers))
    except InvalidStatus as refused:
        response = refused.response
        error = json.loads(response.body)["error"]
        return (response.status_code, error["code"], response.headers.get("retry-after")), None


async def test_sockets_of_a_principal_are_bounded_over_all_gateways(valkey):
    async with (
        bounded(valkey, Quota(sockets=2), gateways=2) as ((first, second), alice, bob, _),
        contextlib.AsyncExitStack() as stack,
    ):
        for bench in (first, second):
            assert (await handshake(bench, alice, stack))[0] is None
        for bench in (first, second):
            refused, _ = await handshake(bench, alice, stack)
            assert refused == (429, "rate_limit_exceeded", "10")
        assert (await handshake(first, bob, stack))[0] is None


async def test_a_closed_socket_makes_room_at_any_gateway(valkey):
    async with (
        bounded(valkey, Quota(sockets=1), gateways=2) as ((first, second), alice, _, _),
        contextlib.AsyncExitStack() as stack,
    ):
        _, client = await handshake(first, alice, stack)
        await client.connection.close()

        async with asyncio.timeout(PATIENCE):
            while (await handshake(second, alice, stack))[0] is not None:  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0.02)


async def test_sockets_of_an_address_are_bounded_and_proxies_say_whose_they_are(valkey):
    settings = {"sockets_per_address": 1, "trusted_proxies": ("127.0.0.0/8",)}
    async with (
        bounded(valkey, None, **settings) as ([bench], alice, bob, _),
        contextlib.AsyncExitStack() as stack,
    ):
        here, there = ({"X-Forwarded-For": address} for address in ("198.51.100.1", "198.51.100.2"))
        assert (await handshake(bench, alice | here, stack))[0] is None
        assert (await handshake(bench, bob | here, stack))[0][:2] == (429, "rate_limit_exceeded")
        assert (await handshake(bench, bob | there, stack))[0] is None


async def test_a_counted_socket_is_refreshed_before_its_lease_ends(valkey, monkeypatch):
    monkeypatch.setattr(module, "LEASE_SECONDS", 1.6)
    async with (
        bounded(valkey, Quota(sockets=1), gateways=2) as ((first, second), alice, _, link),
        contextlib.AsyncExitStack() as stack,
    ):
        await handshake(first, alice, stack)
        for _ in range(8):
            await first.gateway._meter.refresh()
            await asyncio.sleep(0.4)  # twice the lease in all
        assert (await handshake(second, alice, stack))[0] is not None
        assert await link.command("KEYS", "{u*}sockets")


async def create(bench, headers, **body):
    async with bench.http() as http:
        body = {"input": "Hello", "background": True, "max_output_tokens": 50} | body
        return await http.post("/v1/responses", headers=headers, json=body)


def refusal(answer):
    return answer.status_code, answer.json()["error"]["code"]


async def test_running_responses_are_bounded_over_all_gateways_until_they_have_ended(valkey):
    async with bounded(valkey, Quota(responses=2), gateways=2) as ((first, second), alice, bob, _):
        one = [await create(bench, alice) for bench in (first, second)]
        refused = await create(first, alice)
        assert refusal(refused) == (429, "too_many_active_responses")
        assert refused.headers["retry-after"] == "2"
        assert (await create(second, bob)).status_code == 200
        async with first.http() as http:
            await http.post(f"/v1/responses/{one[0].json()['id']}/cancel", headers=alice)
        async with asyncio.timeout(PATIENCE):
            while (await create(second, alice)).status_code != 200:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.1)
        assert refusal(await create(first, alice)) == (429, "too_many_active_responses")


async def test_many_who_come_at_once_all_get_the_places_of_those_that_have_ended(valkey):
    async with bounded(valkey, Quota(responses=8)) as ([bench], alice, _, _):
        for _ in range(2):
            answers = await asyncio.gather(*(create(bench, alice) for _ in range(8)))
            assert [answer.status_code for answer in answers] == [200] * 8
            for _ in range(8):
                await bench.hand.answer("a")
        await asyncio.gather(*(create(bench, alice) for _ in range(8)))
        assert refusal(await create(bench, alice)) == (429, "too_many_active_responses")


async def test_a_refused_or_repeated_request_takes_no_place(valkey):
    async with bounded(valkey, Quota(responses=2), waiting_bound=1) as ([bench], alice, bob, _):
        assert (await create(bench, bob)).status_code == 200
        for _ in range(3):
            assert refusal(await create(bench, alice)) == (503, "overloaded")
        await bench.hand.claim()
        for _ in range(3):
            assert (await create(bench, alice, idempotency_key="k")).status_code == 200
        await bench.hand.claim()
        assert (await create(bench, alice)).status_code == 200


async def test_requests_in_a_minute_are_bounded_and_the_answers_say_what_is_left(valkey):
    async with bounded(valkey, Quota(requests_per_minute=2), gateways=2) as ((first, second), alice, bob, _):
        for bench, left in ((first, "1"), (second, "0")):
            answer = await create(bench, alice)
            assert answer.headers["x-ratelimit-limit-requests"] == "2"
            assert answer.headers["x-ratelimit-remaining-requests"] == left
        assert re.fullmatch(r"1m0s|[345]\d(\.\d+)?s", answer.headers["x-ratelimit-reset-requests"])
        refused = await create(first, alice)
        assert refusal(refused) == (429, "rate_limit_exceeded")
        assert 20 <= int(refused.headers["retry-after"]) <= 30
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        assert (await create(first, bob)).status_code == 200


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize("stream", [False, True])
async def test_each_kind_of_answer_says_what_is_left(valkey, path, stream):
    said = {"input": "x"} if path == "/v1/responses" else {"messages": [{"role": "user", "content": "x"}]}
    body = ({"prompt": "x"} if path == "/v1/completions" else said) | {"stream": stream}
    async with bounded(valkey, Quota(requests_per_minute=2)) as ([bench], alice, _, _), bench.http() as http:
        asking = asyncio.create_task(http.post(path, headers=alice, json=body))
        await bench.hand.answer("a")
        answer = await asking
    assert (answer.status_code, answer.headers["x-ratelimit-remaining-requests"]) == (200, "1")
    assert answer.headers["content-type"].startswith("text/event-stream" if stream else "application/json")


async def test_requests_over_a_socket_are_bounded_as_those_over_http(valkey):
    async with (
        bounded(valkey, Quota(requests_per_minute=1)) as ([bench], alice, _, _),
        bench.client(additional_headers=alice) as client,
    ):
        await client.create(stream_id="a")
        await client.until("response.created")
        await client.create(stream_id="b")
        event = await client.event()
        assert (event["error"]["code"], event["stream_id"]) == ("rate_limit_exceeded", "b")
        assert 50 <= event["error"]["retry_after"] <= 60


async def test_tokens_in_a_minute_are_bounded_by_the_most_that_may_be_answered(valkey):
    async with bounded(valkey, Quota(tokens_per_minute=10)) as ([bench], alice, _, _):
        answer = await create(bench, alice, input="x" * 4, max_output_tokens=5)
        assert answer.headers["x-ratelimit-remaining-tokens"] == "4"
        refused = await create(bench, alice, input="x" * 4, max_output_tokens=5)
        assert refusal(refused) == (429, "rate_limit_exceeded")
        assert refused.headers["x-ratelimit-remaining-tokens"] == "4"
        assert (await create(bench, alice, input="x" * 4, max_output_tokens=3)).status_code == 200


def left(answer):
    return int(answer.headers["x-ratelimit-remaining-tokens"])


async def test_a_short_answer_takes_the_tokens_that_it_used_at_any_gateway(valkey):
    quota = Quota(tokens_per_minute=1000)
    async with bounded(valkey, quota, gateways=2) as ((first, second), alice, _, _):
        assert left(await create(first, alice, input="x" * 4, max_output_tokens=600)) == 399
        assert refusal(await create(second, alice, max_output_tokens=600)) == (429, "rate_limit_exceeded")
        await first.hand.answer("a", "b")  # 3 tokens were read and 2 written
        assert 394 <= left(await create(second, alice, input="x" * 4, max_output_tokens=600)) <= 400


async def test_what_comes_to_nothing_takes_no_tokens(valkey):
    quota = Quota(tokens_per_minute=1000)
    async with bounded(valkey, quota, waiting_bound=1) as ([bench], alice, bob, _):
        assert (await create(bench, bob)).status_code == 200
        for _ in range(3):
            refused = await create(bench, alice, max_output_tokens=900)
            assert refusal(refused) == (503, "overloaded")
        await bench.hand.claim()
        for _ in range(3):  # but for the first these are one response
            again = await create(bench, alice, max_output_tokens=400, idempotency_key="k")
            assert again.status_code == 200
        await bench.hand.claim()
        assert left(await create(bench, alice, input="x" * 4, max_output_tokens=1)) >= 580


async def test_requests_from_an_address_are_bounded_whoever_asks(valkey):
    async with bounded(valkey, None, requests_per_address=2) as ([bench], alice, bob, _):
        assert [(await create(bench, who)).status_code for who in (alice, bob, alice)] == [200, 200, 429]


async def test_messages_of_a_principal_are_bounded_over_all_its_sockets(valkey):
    async with (
        bounded(valkey, Quota(messages_per_minute=3), gateways=2) as ((first, second), alice, bob, _),
        first.client(additional_headers=alice) as one,
        second.client(additional_headers=alice) as two,
        second.client(additional_headers=bob) as other,
    ):
        codes = []
        for client in (one, two, one, two, one):
            await client.send(type="response.cancel", event_id="e")
            event = await client.event()
            assert event["event_id"] == "e"
            codes.append(event["error"]["code"])
        assert codes == ["response_not_active"] * 3 + ["rate_limit_exceeded"] * 2
        await other.send(type="response.cancel")
        assert (await other.event())["error"]["code"] == "response_not_active"


async def test_in_development_mode_nothing_is_counted(bench):
    async with bench.client() as client:
        assert bench.gateway._meter.meters is None
        await client.create()
        await client.event()


# ---- without the store


class Away:
    def __getattr__(self, _):
        async def verb(*_):
            raise StoreUnavailable

        return verb


class Hanging:
    async def take(self, *_):
        await asyncio.Event().wait()

    tally = take


ALICE = Principal("alice", Credential.KEY, quota=Quota(1, 1, 1, 1, 1), address="198.51.100.1")
REQUEST = Request("resp_000" + "0" * 32, "m", "alice", (Message("user", "x"),), Sampling(16, 1))


@pytest.fixture
def away(monkeypatch):
    monkeypatch.setattr("gateway.retry._REPEATS", (0.0,))
    return Meter.of(Away(), "g", Quota(sockets=1), lambda: 0.0)


async def test_without_the_store_sockets_and_messages_pass_and_responses_do_not(away):
    assert await away.enter(ALICE) is None
    assert await away.message(ALICE) is None
    await away.leave(ALICE)
    refused = await away.ask(ALICE, REQUEST)
    assert (refused.code, refused.retry_after) == ("backend_unavailable", 2)


async def test_a_store_that_hangs_holds_no_message_up():
    meter = Meter.of(Hanging(), "g", UNBOUNDED, lambda: 0.0)
    async with asyncio.timeout(PATIENCE):
        assert await meter.message(ALICE) is None


async def test_a_handshake_that_is_given_up_while_it_is_counted_holds_no_place():
    meter = Meter.of(Hanging(), "g", Quota(sockets=1), lambda: 0.0)
    entering = asyncio.create_task(meter.enter(ALICE))
    await until(lambda: meter._sockets.total() == 1)
    entering.cancel()
    await asyncio.wait([entering])
    assert meter._sockets.total() == 0


@pytest.mark.parametrize(
    ("seconds", "spelled"),
    [
        (0.0, "0ms"),
        (0.12, "120ms"),
        (1.0, "1s"),
        (1.5, "1.5s"),
        (59.0, "59s"),
        (60.0, "1m0s"),
        (61.5, "1m1.5s"),
    ],
)
def test_times_are_spelled_as_clients_of_the_api_know_them(seconds, spelled):
    assert headers_of([Rate("requests", 3, 2, seconds)]) == {
        "x-ratelimit-limit-requests": "3",
        "x-ratelimit-remaining-requests": "2",
        "x-ratelimit-reset-requests": spelled,
    }


async def test_counts_of_those_who_left_are_forgotten(valkey):
    async with (
        bounded(valkey, Quota(sockets=5), sockets_per_address=0) as ([bench], alice, _, _),
        contextlib.AsyncExitStack() as stack,
    ):
        _, client = await handshake(bench, alice, stack)
        assert len(bench.gateway._meter._sockets) == 1
        await client.connection.close()
        await until(lambda: not bench.gateway._meter._sockets)
