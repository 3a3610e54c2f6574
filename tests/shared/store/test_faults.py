"""What strikes the link to one server: cuts, resets, latency, silence, and a server that dies or fills up."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import re
from collections.abc import AsyncIterator, Iterator

import pytest
from gateway_bench import assert_contiguous, text_of
from servers import Node, alone, redis_program, valkey_program
from store_bench import eventually, on_server
from whole import Viewer, Whole, expected, whole

from gateway.auth import DEVELOPER
from shared.log import Reason
from shared.store.contract import Append, AppendReply, Cancelled, FinishReply, Standing, StoreUnavailable
from tokenwire.audit.proxy import Proxy

PROGRAMS = {"valkey": valkey_program, "redis7": redis_program}


@pytest.fixture(scope="module", params=PROGRAMS)
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    """A server that keeps an AOF; tests may strike it, and leave it running as it was."""
    with alone(PROGRAMS[request.param](), "--appendonly", "yes") as made:
        yield made


@pytest.fixture
async def system(node: Node) -> AsyncIterator[Whole]:
    async with whole(node.url) as made:
        yield made


async def test_f6_subscribers_that_are_cut_again_and_again_miss_nothing(node: Node, system: Whole):
    viewers = await system.views(6)

    for _ in range(8):
        await viewers[0].saw_more(4)
        assert await asyncio.to_thread(node.ask, "CLIENT", "KILL", "TYPE", "PUBSUB") >= 1

    await system.all_end_exactly()


async def test_connections_that_are_reset_again_and_again_lose_and_double_nothing(node: Node, system: Whole):
    viewers = await system.views(6)

    for _ in range(4):
        await viewers[0].saw_more(4)
        assert await asyncio.to_thread(node.ask, "CLIENT", "KILL", "TYPE", "NORMAL") >= 1

    await system.all_end_exactly()


@pytest.fixture
async def proxy(node: Node) -> AsyncIterator[Proxy]:
    made = Proxy(lambda: asyncio.open_connection("127.0.0.1", node.port), random.Random(1))
    await made.start()
    yield made
    await made.stop()


async def test_f16_a_slow_link_that_is_reset_now_and_then_changes_no_word(proxy: Proxy):
    url = f"redis://127.0.0.1:{proxy.port}"
    async with whole(url) as system:
        viewers = await system.views(6)
        proxy.delay = 0.1  # both ways: 200 ms for a round trip
        before = proxy.passed

        for _ in range(3):
            await viewers[0].saw_more()
            proxy.cut()
        await viewers[0].saw_more()
        proxy.delay = 0.0

        await system.all_end_exactly()
        assert proxy.passed - before <= 40, "a storm of reconnects"


async def test_a_link_that_swallows_everything_is_a_pause(proxy: Proxy):
    async with whole(f"redis://127.0.0.1:{proxy.port}", patience=0.5) as system:
        viewers = await system.views(3)

        proxy.swallow()
        await asyncio.sleep(0.5)  # the fault lasts so long
        assert not any(viewer.ended for viewer in viewers)
        proxy.heal()

        await system.all_end_exactly()


# ---- a subscriber that takes nothing -------------------------------------------------------------


async def test_f7_a_frozen_subscriber_is_cut_by_the_server_and_its_viewers_lose_nothing(
    node: Node, system: Whole
):
    node.ask("CONFIG", "SET", "client-output-buffer-limit", "pubsub 65536 0 0")
    viewers = await system.views(3)
    reader = system.live._reader
    links, transport = reader.links, reader._protocol._transport
    channel = f"{{p0}}c:{viewers[0].response_id}"
    old_words = b"5 1 d 1 " + b"x" * 65536  # of an epoch long gone: if it is read it is dropped

    transport.pause_reading()
    while await asyncio.to_thread(node.ask, "SPUBLISH", channel, old_words):
        pass  # as long as somebody is subscribed
    transport.resume_reading()

    await system.all_end_exactly()
    assert reader.links > links
    node.ask("CONFIG", "SET", "client-output-buffer-limit", "pubsub 33554432 8388608 60")


# ---- a server that dies --------------------------------------------------------------------------


async def test_f8_a_server_that_is_killed_and_comes_back_with_its_aof_is_a_pause(node: Node, system: Whole):
    viewers = await system.views(6)

    for _ in range(2):
        await viewers[0].saw_more(5)
        node.kill()
        await asyncio.to_thread(node.start)

    await system.all_end_exactly()


async def test_a_lease_that_ran_out_while_the_server_was_down_is_still_its_owners(node: Node):
    """Idle time runs while nobody can renew; who comes back first must not take all."""
    async with on_server(node.url, 1) as bench:
        owner, heir = await bench.worker("owner"), await bench.worker("heir")
        await bench.submitted(keep=-1.0)
        claim = await bench.claimed(owner)
        await asyncio.sleep(0.2)  # longer than a lease: the heir's link is an old one
        assert await owner.renew([claim]) == [Standing.OURS]
        await heir.claim(0, lambda: True)

        node.kill()
        await asyncio.sleep(0.2)  # and so long it is down
        await asyncio.to_thread(node.start)

        for _ in range(4):
            with contextlib.suppress(StoreUnavailable):
                assert not await heir.claim(1, lambda: True)
        assert await until_answered(lambda: owner.renew([claim])) == [Standing.OURS]


async def until_answered(ask):
    """Repeat what the store could not be asked."""
    async with asyncio.timeout(40):
        while True:
            try:
                return await ask()
            except StoreUnavailable:
                await asyncio.sleep(0.01)


def cut_tail(node: Node, size: int) -> bytes:
    """Cut bytes off the dead server's AOF, as a power cut does; return what is left."""
    [aof] = sorted((node.folder / "appendonlydir").glob("*.incr.aof"))[-1:]
    left = aof.read_bytes()[:-size]
    aof.write_bytes(left)
    return left


def last_kept(aof: bytes, response_id: str) -> int:
    """The last `upto` of a response in an AOF."""
    key = rb"\{p0\}l:" + response_id.encode()
    return max(int(upto) for upto in re.findall(key + rb"\r\n\$10\r\nNOMKSTREAM\r\n\$\d+\r\n\d+-(\d+)", aof))


async def test_a_tail_that_the_server_lost_is_written_again_by_its_owner(node: Node, system: Whole):
    viewers = await system.views(4, tokens=150, deltas=40)

    node.kill()
    left = cut_tail(node, 6000)
    kept = {viewer.response_id: last_kept(left, viewer.response_id) for viewer in viewers}
    await asyncio.to_thread(node.start)

    await system.all_end_exactly()
    assert any(kept[viewer.response_id] < 40 for viewer in viewers), "the cut has hit nobody"


async def test_a_reader_of_a_tail_that_is_lost_with_its_owner_is_told_and_shown_no_other_words(
    node: Node, system: Whole
):
    [viewer] = await system.views(1, tokens=150, deltas=40)

    await system.kill("worker-1")
    node.kill()
    left = cut_tail(node, 2500)
    assert last_kept(left, viewer.response_id) < 40
    await asyncio.to_thread(node.start)
    # The heir joins tokens otherwise, so that its numbers cover other words.
    system.start("heir", echo_rate=2000)

    last = await viewer.end()

    assert last["type"] == "error", last
    assert last["error"]["code"] == "resume_unavailable"

    async def ended() -> str | None:
        log = await system.log_of(viewer.response_id)
        return "".join(entry.text for entry in log.entries) if log.status.terminal else None

    assert await eventually(ended) == expected(150)


async def test_half_a_script_never_comes_back_once_the_aof_was_written_anew():
    """Redis 7.0 leaves the torn half of a transaction in the AOF and runs it at the start after the next."""
    with alone(redis_program(), "--appendonly", "yes") as node:
        node.ask("EVAL", "redis.call('SET', KEYS[1], 1) redis.call('SET', KEYS[2], 2)", 2, "a", "b")
        node.kill()
        cut_tail(node, 20)  # into the second SET
        node.start()
        assert node.ask("EXISTS", "a", "b") == 0

        node.ask("BGREWRITEAOF")
        await eventually(lambda: rewritten(node))
        node.ask("SET", "c", 3)
        node.kill()
        node.start()

        assert node.ask("EXISTS", "a", "b") == 0
        assert node.ask("EXISTS", "c") == 1


async def rewritten(node: Node) -> bool:
    return node.info("aof_rewrite_in_progress") == "0" and node.info("aof_last_bgrewrite_status") == "ok"


# ---- a server that is full, a log that is gone ---------------------------------------------------


async def test_f12_a_full_server_refuses_new_work_and_ends_running_answers_openly(node: Node, system: Whole):
    viewers = await system.views(3)
    stopped = viewers[0]
    node.ask("CONFIG", "SET", "maxmemory", "1")

    refused = system.view()
    last = await refused.end()
    cancelled = await system.store.cancel(stopped.response_id, DEVELOPER.name)

    assert (last["type"], last["error"]["code"]) == ("error", "storage_full")
    assert isinstance(cancelled, Cancelled)
    for viewer in viewers:
        ending = await viewer.end()
        assert_contiguous(viewer.events)
        assert expected(100).startswith(text_of(viewer.events))
        if viewer is not stopped:
            assert ending["type"] == "response.failed"
            assert ending["response"]["error"]["message"].startswith("storage_full")
    node.ask("CONFIG", "SET", "maxmemory", "0")
    after = system.view(10)
    await after.ends_exactly()


async def test_work_that_waits_while_the_server_is_full_is_done_when_there_is_room(node: Node, system: Whole):
    await system.kill("worker-1")
    waiting = system.view(10)
    await waiting.until(lambda: waiting.events)
    node.ask("CONFIG", "SET", "maxmemory", "1")
    system.start("worker-2")
    await eventually(lambda: told(system, "ready"))

    node.ask("CONFIG", "SET", "maxmemory", "0")

    await waiting.ends_exactly()


async def told(system: Whole, event: str) -> bool:
    return len(system.logged(event)) > 1


@pytest.mark.parametrize("lost", [("DEL",), ("XTRIM", "MAXLEN", 3)])
async def test_f14_a_log_that_is_gone_or_trimmed_is_told_and_never_shown_as_whole(
    node: Node, system: Whole, lost: tuple[object, ...]
):
    [viewer] = await system.views(1, tokens=60, deltas=20)
    response_id = viewer.response_id
    node.ask(lost[0], f"{{p0}}l:{response_id}", *lost[1:])

    late = Viewer(60)
    late.task = asyncio.create_task(late.resume(system.gateway.port, response_id))
    system.viewers.append(late)
    last = await late.end()

    assert (last["type"], last["error"]["code"]) == ("error", "resume_unavailable")
    assert late.deltas == 0


# ---- clocks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [-1, 1])
async def test_f21_a_server_whose_clock_was_moved_still_fences_and_orders(node: Node, hours: int):
    """What was written before looks as if it came from an hour ahead, or from an hour ago."""
    async with on_server(node.url, 1) as bench:
        owner, heir = await bench.worker("owner"), await bench.worker("heir")
        await bench.submitted(keep=-1.0)
        first = await bench.claimed(owner)
        moved = first.epoch - hours * 3_600_000
        log, record = f"{{p0}}l:{first.response_id}", f"{{p0}}r:{first.response_id}"
        entries = node.ask("XRANGE", log, "-", "+")
        node.ask("DEL", log)
        for entry_id, fields in entries:
            epoch, _, upto = entry_id.decode().partition("-")
            node.ask("XADD", log, f"{moved if int(epoch) else 0}-{upto}", *fields)
        node.ask("HSET", record, "epoch", moved)
        old = dataclasses.replace(first, epoch=moved)
        await owner.append([Append(old.response_id, moved, 5, "one ", (1,))])
        await owner.release(old)

        claim = await bench.claimed(heir)

        assert claim.epoch > moved
        assert claim.upto == 5
        late = await owner.append([Append(old.response_id, moved, 6, "late", (2,))])
        assert late == [AppendReply.REFUSED]
        assert await heir.append([Append(claim.response_id, claim.epoch, 6, "two", (2,))]) != late
        assert await heir.renew([claim]) == [Standing.OURS]
        assert await heir.finish(claim, 6, Reason.STOP) is FinishReply.OK
        followed = await bench.gateway.follow(claim.response_id, "alice", None, -1, None)
        assert "".join(entry.text for entry in followed.entries) == "one two"
