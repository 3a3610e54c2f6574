"""What strikes a primary that Sentinel watches."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from gateway_bench import assert_contiguous, text_of
from servers import Watched, redis_program, under_sentinel, until, valkey_program
from whole import Viewer, expected, request, whole

from shared.log import PROLOGUE
from shared.store.connect import connect, listen
from shared.store.contract import StoreUnavailable
from shared.store.gateway import RedisGatewayStore
from shared.store.link import Link
from shared.store.place import parse, place_of

PROGRAMS = {"valkey": valkey_program, "redis7": redis_program}


@pytest.fixture(params=PROGRAMS)
def watched(request: pytest.FixtureRequest) -> Iterator[Watched]:
    with under_sentinel(PROGRAMS[request.param]()) as made:
        yield made


def kept_by_replica(watched: Watched, viewer: Viewer) -> int:
    """How far the replica has an answer's log."""
    last = watched.replica.ask("XREVRANGE", f"{{p0}}l:{viewer.response_id}", "+", "-", "COUNT", 1)
    return int(last[0][0].partition(b"-")[2]) if last else 0


async def known(watched: Watched, viewers: list[Viewer]) -> None:
    """Wait until the replica knows the beginnings of the answers: what it may miss then, their owner has."""
    for viewer in viewers:
        await asyncio.to_thread(until, lambda viewer=viewer: kept_by_replica(watched, viewer) > PROLOGUE)


async def cut_off(watched: Watched, viewers: list[Viewer]) -> None:
    """Let the replica hear nothing more; it knows the beginnings of the answers."""
    await known(watched, viewers)
    watched.replica.freeze()
    await asyncio.to_thread(watched.primary.ask, "CLIENT", "KILL", "TYPE", "REPLICA")


async def lose_primary(watched: Watched, viewers: list[Viewer]) -> None:
    """Kill the primary; the replica takes over with less than the viewers have seen."""
    watched.primary.kill()
    watched.replica.thaw()
    for viewer in viewers:
        kept = await asyncio.to_thread(kept_by_replica, watched, viewer)
        assert kept <= viewer.events[-1]["sequence_number"], "nothing was lost"
    await promoted(watched)


async def promoted(watched: Watched) -> None:
    """Wait until Sentinel has named the replica, and the replica has taken over."""

    def done() -> bool:
        return watched.named() == watched.replica.port and watched.replica.info("role") == "master"

    await asyncio.to_thread(until, done)


async def test_f9_a_primary_that_is_killed_is_a_pause_until_sentinel_has_named_another(watched: Watched):
    async with whole(watched.url) as system:
        viewers = await system.views(6, tokens=200)
        await known(watched, viewers)

        watched.primary.kill()
        began = asyncio.get_running_loop().time()
        await promoted(watched)
        seen = [viewer.deltas for viewer in viewers]
        await asyncio.gather(*(viewer.saw_more() for viewer in viewers))
        assert asyncio.get_running_loop().time() - began < 0.5 + 5 + 5  # down-after + 5, on a busy machine

        assert any(each < 200 for each in seen)
        await system.all_end_exactly()
        await system.view(10).ends_exactly()


async def test_f9_a_failover_that_outlasts_every_viewers_lease_ends_nothing_that_is_watched(monkeypatch):
    """The new primary was up all the time: what tells it that nobody could renew is the pulse of the gateways."""
    with under_sentinel(valkey_program(), down_after_ms=3000) as watched:
        async with whole(watched.url, attachment=1.0, keep=0.3) as system:
            viewers = await system.views(4, tokens=400)
            await known(watched, viewers)
            ask, back = system.server.script, asyncio.Event()

            async def later(*arguments, **options):
                if not back.is_set():
                    raise StoreUnavailable("the gateway comes back later than the worker")
                return await ask(*arguments, **options)

            monkeypatch.setattr(system.server, "script", later)
            watched.primary.kill()
            await promoted(watched)
            kept = [kept_by_replica(watched, viewer) for viewer in viewers]
            for viewer, before in zip(viewers, kept, strict=True):
                await asyncio.to_thread(
                    until, lambda viewer=viewer, before=before: kept_by_replica(watched, viewer) > before + 60
                )  # the worker is back for over two of its renewals

            assert int(watched.replica.info("uptime_in_seconds")) > 2
            back.set()
            await system.all_end_exactly()


async def test_f9_writes_that_were_not_replicated_are_written_again_by_their_owner(watched: Watched):
    async with whole(watched.url) as system:
        viewers = await system.views(4, tokens=200)
        await cut_off(watched, viewers)
        await asyncio.gather(*(viewer.saw_more(20) for viewer in viewers))

        await lose_primary(watched, viewers)

        await system.all_end_exactly()


async def test_f9_an_answer_that_is_lost_with_its_owner_is_told_never_shown_cut_or_changed(watched: Watched):
    async with whole(watched.url) as system:
        viewers = await system.views(3, tokens=150)
        await cut_off(watched, viewers)
        young = await system.views(3, tokens=150)  # the replica has never heard of these
        await asyncio.gather(*(viewer.saw_more(20) for viewer in viewers))

        await system.kill("worker-1")
        await lose_primary(watched, viewers + young)
        system.start("heir", echo_rate=2000)

        for viewer in viewers + young:
            last = await viewer.end()
            assert (last["type"], last["error"]["code"]) == ("error", "resume_unavailable")
            assert_contiguous(viewer.events[:-1])
            assert expected(150).startswith(text_of(viewer.events))


async def test_a_frozen_primary_that_wakes_as_a_replica_is_left(watched: Watched):
    link = connect(watched.url, timeout=0.5)
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    links: asyncio.Queue[None] = asyncio.Queue()
    reader = listen(
        watched.url, lambda _channel, data: heard.put_nowait(data), lambda: links.put_nowait(None)
    )
    reader.start()
    try:
        await reader.subscribe(b"{p0}c:x")
        await link.command("SET", "a", "1")

        watched.primary.freeze()
        await promoted(watched)
        watched.primary.thaw()
        await asyncio.to_thread(until, lambda: watched.primary.info("role") == "slave")

        async with asyncio.timeout(20):
            while True:
                try:
                    await link.command("SET", "a", "2")
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.05)
            while not heard.qsize():
                await link.command("SPUBLISH", "{p0}c:x", "still heard")
                await asyncio.sleep(0.05)
        assert await asyncio.to_thread(watched.replica.ask, "GET", "a") == b"2"
    finally:
        await reader.close()
        await link.close()


async def test_a_replica_that_sentinel_names_too_early_is_not_written_to(watched: Watched):
    class Early:
        moves = True

        async def find(self):
            return {"host": "127.0.0.1", "port": watched.replica.port}

    link = Link(Early())

    with pytest.raises(StoreUnavailable, match="not the primary yet"):
        await link.command("SET", "a", "1")

    await link.close()


async def test_a_server_that_becomes_a_replica_under_a_link_is_left_at_once(watched: Watched):
    link = Link.to(watched.primary.url)
    await link.command("SET", "a", "1")
    number = link.number
    await asyncio.to_thread(watched.primary.ask, "REPLICAOF", "127.0.0.1", watched.replica.port)

    with pytest.raises(StoreUnavailable):
        await link.command("SET", "a", "2")

    await asyncio.to_thread(watched.primary.ask, "REPLICAOF", "NO", "ONE")
    await link.command("SET", "a", "3")
    assert link.number > number
    await link.close()


async def test_f10_a_primary_that_is_cut_off_from_its_replica_stops_taking_requests(watched: Watched):
    primary = watched.primary
    primary.ask("CONFIG", "SET", "min-replicas-to-write", "1")
    primary.ask("CONFIG", "SET", "min-replicas-max-lag", "1")
    link = connect(watched.url)
    store = RedisGatewayStore(link, name="gateway")
    await asyncio.to_thread(until, lambda: primary.info("min_slaves_good_slaves") == "1")
    await store.submit(request(), None, 64)

    watched.replica.freeze()
    await asyncio.to_thread(until, lambda: primary.info("min_slaves_good_slaves") == "0")
    with pytest.raises(StoreUnavailable, match="NOREPLICAS"):
        await store.submit(request(), None, 64)
    watched.replica.thaw()
    await asyncio.to_thread(until, lambda: primary.info("min_slaves_good_slaves") == "1")

    assert (await store.submit(request(), None, 64)).place == 1
    await link.close()


async def test_sentinels_that_are_away_or_know_nothing_are_passed_over(watched: Watched):
    port = watched.sentinel.port
    place = place_of(parse(f"redis+sentinel://127.0.0.1:1,127.0.0.1:{port}/main"))
    assert (await place.find())["port"] == watched.primary.port

    link = connect(f"redis+sentinel://127.0.0.1:{port}/other")
    with pytest.raises(StoreUnavailable, match="no Sentinel knows a primary called 'other'"):
        await link.command("PING")
    await link.close()

    link = connect("redis+sentinel://127.0.0.1:1/main")
    with pytest.raises(StoreUnavailable, match="no Sentinel answers"):
        await link.command("PING")
    await link.close()
