"""What only queues on a server can get wrong: the round trips of a whole load, and what is not for us to read."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest
from store_bench import Bench, on_server

from shared.log import Entry, Kind, Reason, new_response_id
from shared.request import Request
from shared.store import keys
from shared.store.contract import Followed, Refused
from shared.store.link import Link
from shared.store.worker import RedisWorkerStore


async def test_a_whole_workers_load_is_claimed_in_a_few_round_trips(valkey, monkeypatch):
    rounds = []
    one_round = Link._round

    async def counted(self, calls):
        rounds.append(len(calls))
        await one_round(self, calls)

    async with on_server(valkey, 1) as bench:
        requests = [await bench.submitted(keep=-1) for _ in range(40)]
        worker, heir = await bench.worker("worker"), await bench.worker("heir")
        for claim in await worker.claim(40, lambda: True):
            await worker.release(claim)
        monkeypatch.setattr(Link, "_round", counted)
        claims = await heir.claim(40, lambda: True)
    assert {claim.response_id for claim in claims} == {request.response_id for request in requests}
    assert len(rounds) < 10, rounds


@contextlib.asynccontextmanager
async def telling(url: str) -> AsyncIterator[tuple[Bench, RedisWorkerStore, Link, list[tuple[str, str]]]]:
    """A worker that notes what it could not read."""
    unread: list[tuple[str, str]] = []
    link = Link.to(url)
    async with on_server(url, 1) as bench:
        worker = RedisWorkerStore(
            link,
            url,
            worker="worker",
            model="model",
            build="build",
            on_unreadable=lambda which, problem: unread.append((which, problem)),
        )
        yield bench, worker, link, unread
        await worker.close()
    await link.close()


async def pending(link: Link) -> int:
    return int((await link.command("XPENDING", keys.of_model(0, "model")[0], keys.GROUP))[0])


async def ending_of(bench: Bench, request: Request) -> Entry:
    log = await bench.gateway.follow(request.response_id, "alice", None, -1, None)
    assert isinstance(log, Followed)
    return log.entries[-1]


@pytest.mark.parametrize("damage", [b"\xff", b"{}", b"not JSON"])
async def test_a_request_that_nobody_can_read_fails_alone_and_openly(valkey, damage):
    async with telling(valkey) as (bench, worker, link, unread):
        bad, good = await bench.submitted(), await bench.submitted()
        body = await link.command("HGET", keys.of_response(bad.response_id).hash, "body")
        await link.command("HSET", keys.of_response(bad.response_id).hash, "body", damage)

        claims = await worker.claim(4, lambda: True)

        assert [claim.response_id for claim in claims] == [good.response_id]
        assert [which for which, _ in unread] == [bad.response_id]
        assert await pending(link) == 1, "the good one's"
        assert await bench.gateway.waiting("model") == 0
        reader = await bench.gateway.follow(bad.response_id, "alice", None, -1, None)
        assert reader is Refused.UNREADABLE
        await link.command("HSET", keys.of_response(bad.response_id).hash, "body", body)
        ending = await ending_of(bench, bad)
        assert (ending.kind, ending.reason) == (Kind.ENDED, Reason.ERROR)


async def test_a_log_that_a_newer_worker_began_is_not_continued_and_fails_openly(valkey):
    async with telling(valkey) as (bench, worker, link, unread):
        request = await bench.submitted()
        other = await bench.worker("newer", build="build")
        claim = (await other.claim(1, lambda: True))[0]
        log = keys.of_response(request.response_id).log
        await link.command("XADD", log, f"{claim.epoch}-5", "k", "z", "n", "1")
        await other.release(claim)

        assert await worker.claim(4, lambda: True) == []

        assert [which for which, _ in unread] == [request.response_id]
        assert await pending(link) == 0
        assert await link.command("HGET", keys.of_response(request.response_id).hash, "status") == b"failed"


@pytest.mark.parametrize("name", ["\udcff", "nothing of ours", new_response_id(1)])
async def test_a_queue_entry_that_names_no_response_is_put_aside(valkey, name):
    async with telling(valkey) as (bench, worker, link, unread):
        queue = keys.of_model(0, "model")[0]
        entry = await link.command("XADD", queue, "*", "id", name.encode(errors="surrogateescape"))
        good = await bench.submitted()

        claims = await worker.claim(4, lambda: True)

        assert [claim.response_id for claim in claims] == [good.response_id]
        assert [which for which, _ in unread] == [entry.decode()]
        assert await pending(link) == 1, "the good one's"
        assert await link.command("XRANGE", queue, entry, entry) == []
