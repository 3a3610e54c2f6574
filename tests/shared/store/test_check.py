from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from servers import Node, Nodes, Watched, alone, redis_program, valkey_program

from shared.observe import make_logger
from shared.settings import SettingsError
from shared.store.check import Facts, Problem, Watchman, check_server, judge
from shared.store.connect import connect
from shared.store.place import parse

FIT = {"redis_version": "7.0.15", "role": "master", "maxmemory_policy": "noeviction", "aof_enabled": "1"}
CONFIG = {
    "client-output-buffer-limit": "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
    "min-replicas-to-write": "1",
    "aof-load-truncated": "yes",
}
OLD = {"uptime_in_seconds": "100000"}


def problems(url: str = "redis://host", config: dict[str, str] | None = None, **info: str) -> list[Problem]:
    return judge(Facts(FIT | OLD | info, CONFIG | (config or {})), parse(url))


def test_a_fit_server_has_no_problem():
    assert problems() == []
    assert problems(valkey_version="8.0.1", redis_version="7.2.4") == []
    assert judge(Facts(FIT | OLD, {}), parse("redis://host")) == []  # CONFIG is not allowed


@pytest.mark.parametrize(
    ("info", "sentence"),
    [
        ({"redis_version": "6.2.14"}, "The server is Redis 6.2.14: Tokenwire needs Redis 7.0 or newer"),
        ({"valkey_version": "7.2.5"}, "The server is Valkey 7.2.5"),
        ({"maxmemory_policy": "allkeys-lru"}, "set maxmemory-policy noeviction"),
        ({"cluster_enabled": "1"}, "write redis+cluster://host:port,host:port instead"),
        ({"role": "slave"}, "REDIS_URL names a replica"),
    ],
)
def test_what_would_lose_answers_without_a_sign_is_refused(info: dict[str, str], sentence: str):
    [problem] = problems(**info)

    assert problem.refusal
    assert sentence in problem.sentence


@pytest.mark.parametrize(
    ("info", "config", "sentence"),
    [
        ({"aof_enabled": "0"}, {"save": ""}, "keeps nothing on disk"),
        ({"aof_enabled": "0"}, {"save": "3600 1"}, "keeps snapshots only"),
        ({"uptime_in_seconds": "5"}, {}, "run BGREWRITEAOF on it now"),
        (
            {},
            {"client-output-buffer-limit": "pubsub 1048576 262144 60"},
            "set client-output-buffer-limit pubsub 33554432 8388608 60",
        ),
    ],
)
def test_what_may_cost_answers_is_a_warning(info: dict[str, str], config: dict[str, str], sentence: str):
    [problem] = problems(config=config, **info)

    assert not problem.refusal
    assert sentence in problem.sentence


def test_a_server_that_is_meant_to_keep_nothing_is_not_told_to():
    assert problems("redis://host?volatile=1", {"save": ""}, aof_enabled="0", uptime_in_seconds="5") == []


def test_a_primary_under_sentinel_should_stop_when_it_is_cut_off():
    [problem] = problems("redis+sentinel://host/main", {"min-replicas-to-write": "0"})

    assert "set min-replicas-to-write 1" in problem.sentence


async def look(url: str, partitions: int = 1) -> list[str]:
    server = connect(url)
    try:
        return [problem.sentence for problem in await check_server(server, parse(url), partitions)]
    finally:
        await server.close()


async def test_a_real_server_of_each_kind_is_looked_at(
    valkey: str, redis7: str, sentinel: Watched, nodes: Nodes
):
    for url in (valkey, redis7):
        assert [each[:35] for each in await look(url)] == ["The server keeps nothing on disk, s"]
    assert any("min-replicas-to-write" in each for each in await look(sentinel.url))
    assert any("set PARTITIONS=64" in each for each in await look(nodes.url))
    assert not any("PARTITIONS" in each for each in await look(nodes.url, 64))


async def test_a_node_of_a_cluster_is_not_taken_for_a_server_alone(nodes: Nodes):
    assert any("write redis+cluster://" in each for each in await look(nodes.nodes[0].url))


@pytest.fixture(scope="module")
def evicting() -> Iterator[Node]:
    with alone(redis_program(), "--maxmemory-policy", "allkeys-lru") as node:
        yield node


@pytest.mark.parametrize("process", ["gateway", "worker"])
def test_a_process_refuses_to_start_on_a_server_that_evicts_keys(evicting: Node, process: str):
    environ = {**os.environ, "REDIS_URL": evicting.url, "ENGINE": "echo", "PROBE_PORT": "0", "PORT": "0"}

    ended = subprocess.run(
        [sys.executable, "-m", process], env=environ, capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 2
    assert "set maxmemory-policy noeviction." in ended.stderr
    assert "Traceback" not in ended.stderr


async def told_after(
    struck: Callable[[Node], object], said: str, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Strike at a server that is watched, wait until it was told of twice, and return the levels of those lines."""
    monkeypatch.setattr("shared.store.check._AGAIN_SECONDS", 0.01)
    lines = io.StringIO()

    def told() -> list[str]:
        logged = map(json.loads, lines.getvalue().splitlines())
        return [
            line["level"] for line in logged if line["event"] == "store_unfit" and said in line["problem"]
        ]

    with alone(valkey_program()) as node:
        server = connect(node.url)
        watchman = Watchman(server, parse(node.url), 1, make_logger("test", lines))
        await watchman.at_start()
        watching = asyncio.create_task(watchman.run())
        struck(node)
        async with asyncio.timeout(40):
            while len(told()) < 2:  # noqa: ASYNC110 - a log gives no sign
                await asyncio.sleep(0.01)
        watching.cancel()
        await asyncio.wait([watching])
        await server.close()
    return told()


async def test_a_policy_that_is_changed_on_the_running_server_is_an_error_each_time(
    monkeypatch: pytest.MonkeyPatch,
):
    levels = await told_after(
        lambda node: node.ask("CONFIG", "SET", "maxmemory-policy", "volatile-lru"),
        "volatile-lru",
        monkeypatch,
    )

    assert set(levels) == {"error"}


async def test_a_server_that_says_nothing_of_itself_any_more_is_an_error_each_time(
    monkeypatch: pytest.MonkeyPatch,
):
    levels = await told_after(
        lambda node: node.ask("ACL", "SETUSER", "default", "-info"), "does not say what it is", monkeypatch
    )

    assert set(levels) == {"error"}


async def test_a_server_that_is_not_there_yet_is_looked_at_when_it_comes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shared.store.check._RETRY_SECONDS", 0.01)
    lines = io.StringIO()
    node = Node(valkey_program(), ("--maxmemory-policy", "allkeys-lfu"))
    server = connect(node.url)
    watchman = Watchman(server, parse(node.url), 1, make_logger("test", lines))
    await watchman.at_start()
    assert "store_unavailable" in lines.getvalue()
    watching = asyncio.create_task(watchman.run())
    try:
        await asyncio.to_thread(node.start)
        async with asyncio.timeout(40):
            while "store_unfit" not in lines.getvalue():  # noqa: ASYNC110 - a log gives no sign
                await asyncio.sleep(0.01)
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        await server.close()
        node.remove()


async def test_a_refusal_at_the_start_names_every_problem(evicting: Node):
    server = connect(evicting.url)
    watchman = Watchman(server, parse(evicting.url), 1, make_logger("test", io.StringIO()))

    with pytest.raises(SettingsError, match="allkeys-lru"):
        await watchman.at_start()

    await server.close()
