from __future__ import annotations

import asyncio

import pytest
from gateway_logs import RESPONSE_ID, LogWriter, make_request
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.exposition import generate_latest

from shared.log import Reason
from shared.store.gateway import RedisGatewayStore
from shared.store.link import Link
from tokenwire.audit.aftermath import Remains, WorkerLogs, claimed_unstarted, gauges
from tokenwire.audit.findings import Promise


@pytest.fixture
async def link(valkey):
    link = Link.to(valkey)
    await link.command("FLUSHALL")
    yield link
    await link.close()


@pytest.fixture
async def remains(valkey):
    remains = Remains(valkey, "tiny")
    yield remains
    await remains.close()


@pytest.mark.usefixtures("link")
async def test_an_empty_server_has_nothing_left(remains):
    assert await remains.left_over() == []
    assert (await remains.waiting(), await remains.running()) == (0, 0)


async def test_an_unended_response_is_left_over(link, remains):
    await RedisGatewayStore(link, name="g").submit(make_request(), "watcher", 8)
    found = await remains.left_over()
    assert {violation.promise for violation in found} == {Promise.ONE_ENDING, Promise.NOTHING_LEFT}
    assert await remains.response_ids() == [RESPONSE_ID]
    assert (await remains.waiting(), await remains.running()) == (1, 1)
    assert [entry.kind async for _, log in remains.logs([RESPONSE_ID]) for entry in log] == ["q"]


async def test_a_key_without_a_ttl_is_left_over(link, remains):
    await link.command("SET", "{p0}x:forgotten", "1")
    assert [violation.detail for violation in await remains.left_over()] == ["{p0}x:forgotten has no TTL"]


async def test_rest_is_waited_for(link, remains):
    store = RedisGatewayStore(link, name="g")
    await store.submit(make_request(), "watcher", 8)
    resting = asyncio.create_task(remains.rested(5.0))
    await store.cancel(RESPONSE_ID, "alice")
    await link.command("DEL", "{p0}q:tiny")  # no worker is there to drop the entry
    await resting
    assert await remains.running() == 0


def test_gauges_at_rest_are_summed_over_their_labels():
    registry = CollectorRegistry()
    sockets = Gauge("connections", "x", ["door"], namespace="tokenwire", registry=registry)
    sockets.labels("websocket").set(2)
    sockets.labels("sse").set(3)
    Gauge("other", "x", namespace="tokenwire", registry=registry).set(9)
    assert gauges(generate_latest(registry).decode()) == {"tokenwire_connections": 5.0}


def test_worker_logs_say_who_was_claimed_and_let_go_of(tmp_path):
    log = tmp_path / "worker.log"
    log.write_text(
        '{"ts":"2026-01-01T00:00:01.500Z","event":"claimed","response_id":"a"}\n'
        '{"ts":"2026-01-01T00:00:02.500Z","event":"claim_lost","response_id":"a","standing":"ended"}\n'
        '{"ts":"2026-01-01T00:00:02.500Z","event":"claim_lost","response_id":"b","standing":"fenced"}\n'
        '{"ts":"2026-01-01T00:00:02.500Z","event":"claimed","respo'
    )
    logs = WorkerLogs([log])
    assert (logs.claimed, list(logs.freed)) == (frozenset({"a"}), ["a"])
    assert logs.freed["a"] == 1767225602.5


def test_a_response_stopped_in_the_queue_must_not_reach_a_worker():
    log = LogWriter()
    log.end(Reason.CANCELLED)
    assert claimed_unstarted(log.entries, "r", frozenset()) == []
    found = claimed_unstarted(log.entries, "r", frozenset({"r"}))
    assert [(violation.promise, violation.response_id) for violation in found] == [(Promise.STOP, "r")]
