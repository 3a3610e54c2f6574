from __future__ import annotations

import asyncio

import pytest

from shared.store.connect import connect
from shared.store.place import BadAddress, Kind, open_connection, parse, place_of


def test_a_server_alone_is_named_as_everywhere():
    topology = parse("rediss://user:s3cret@host:7000/2")

    assert topology.kind is Kind.ALONE
    [host] = topology.hosts
    assert (host["host"], host["port"], host["db"], host["password"]) == ("host", 7000, 2, "s3cret")
    assert parse("unix:///run/redis.sock").hosts[0]["path"] == "/run/redis.sock"


def test_sentinels_are_named_with_their_service():
    topology = parse("redis+sentinel://:s3cret@one:26379,two/main/3?sentinel_password=other")

    assert (topology.kind, topology.service) == (Kind.SENTINEL, "main")
    assert [(host["host"], host.get("port")) for host in topology.hosts] == [("one", 26379), ("two", None)]
    assert {host["password"] for host in topology.hosts} == {"s3cret"}
    assert {host["sentinel_password"] for host in topology.hosts} == {"other"}
    assert {host["db"] for host in topology.hosts} == {3}


def test_a_cluster_is_named_by_some_of_its_nodes():
    topology = parse("rediss+cluster://one:7000,two:7001")

    assert topology.kind is Kind.CLUSTER
    assert [(host["host"], host["port"]) for host in topology.hosts] == [("one", 7000), ("two", 7001)]
    assert all("SSL" in host["connection_class"].__name__ for host in topology.hosts)


def test_a_server_that_is_meant_to_keep_nothing_says_so():
    topology = parse("unix:///run/redis.sock?volatile=1")

    assert topology.volatile
    assert "volatile" not in topology.hosts[0]
    assert not parse("redis://host").volatile


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://s3cret@host", "REDIS_URL cannot be read: use redis://"),
        ("host", "REDIS_URL cannot be read: use redis://"),
        ("host:6379", "REDIS_URL cannot be read: use redis://"),
        ("redis+raft://s3cret@host", "REDIS_URL has the scheme 'redis\\+raft': use"),
        ("redis+sentinel://s3cret@host:1", "REDIS_URL names no service: write redis\\+sentinel://"),
        ("redis+sentinel://host:1,,/main", "REDIS_URL names no host, or an empty one"),
        ("redis+cluster://", "REDIS_URL names no host, or an empty one"),
        ("redis+cluster://s3cret@host:1/3", "a Cluster has only one: leave the path away"),
        ("redis+cluster://host:port", "REDIS_URL cannot be read: use redis://"),
        ("redis://[host", "REDIS_URL is no URL: use redis://"),
        ("redis://host?s3cret=1", "REDIS_URL has an option that redis-py does not know"),
        ("redis+cluster://host:1?retry_on_error=1", "REDIS_URL has an option that redis-py does not know"),
        ("redis://host?protocol=9", "or not with this value"),
        ("rediss://host?ssl_cert_reqs=maybe", "or not with this value"),
        ("rediss://host?ssl_ca_certs=/s3cret.pem", "REDIS_URL has ssl_ca_certs, which names no file"),
        ("redis://host?volatile=yes", "volatile, which is neither 0 nor 1"),
        ("redis://host/s3cret", "REDIS_URL names a database that is no number"),
        ("redis+sentinel://host/main/s3cret", "REDIS_URL names a database that is no number"),
    ],
)
def test_a_url_that_cannot_be_used_is_told_in_a_sentence_without_its_secrets(url: str, sentence: str):
    with pytest.raises(BadAddress, match=sentence) as told:
        connect(url)

    assert "s3cret" not in str(told.value)
    assert str(told.value).endswith(".")


async def test_a_cancellation_is_heard_at_every_step_of_a_connection(valkey: str):
    """Swallowed, it took a time-out with it: who asked a Sentinel that hangs would have waited for ever."""
    steps, went_on = 0, []
    while True:
        opening = asyncio.create_task(open_connection(place_of(parse(valkey)), 40))
        for _ in range(steps):
            await asyncio.sleep(0)
        cancelled = opening.cancel()
        await asyncio.wait([opening])
        if not opening.cancelled():
            await opening.result().disconnect(nowait=True)
            went_on += [steps] if cancelled else []
            if not cancelled:
                break
        steps += 1

    assert steps > 3
    assert went_on == []
