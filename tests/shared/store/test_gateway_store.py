"""What a gateway reads that another version wrote."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from store_bench import Bench, on_server

from shared.log import Kind
from shared.store import keys
from shared.store.announcements import gateways, workers
from shared.store.contract import DELETED_SECONDS, Append, Followed, Refused, Watch
from shared.store.link import Link


@contextlib.asynccontextmanager
async def struck(url: str) -> AsyncIterator[tuple[Bench, Link]]:
    link = Link.to(url)
    async with on_server(url, 1) as bench:
        yield bench, link
    await link.close()


async def test_a_letter_of_a_newer_version_ends_what_is_read_before_it(valkey):
    async with struck(valkey) as (bench, link):
        request = await bench.submitted()
        worker = await bench.worker()
        claim = await bench.claimed(worker)
        await worker.append([Append(claim.response_id, claim.epoch, 5, "one", (1,))])
        log = keys.of_response(request.response_id).log
        await link.command("XADD", log, f"{claim.epoch + 1}-5", "k", "y", "note", "covers nothing")
        await worker.append([Append(claim.response_id, claim.epoch + 1, 6, "two", (2,))])
        await link.command("XADD", log, f"{claim.epoch + 1}-7", "k", "z", "n", "1")
        await worker.append([Append(claim.response_id, claim.epoch + 1, 8, "three", (3,))])

        followed = await bench.gateway.follow(request.response_id, "alice", "tab", -1, None)
        beyond = await bench.gateway.follow(request.response_id, "alice", "tab", 6, None)

        assert isinstance(followed, Followed)
        assert "".join(entry.text for entry in followed.entries) == "onetwo"
        assert followed.last == 8
        assert "'z'" in followed.unreadable
        assert isinstance(beyond, Followed)
        assert [(entry.kind, entry.text) for entry in beyond.entries] == [(Kind.DELTA, "three")]
        assert not beyond.unreadable, "who has it from elsewhere goes on behind it"


async def test_a_request_or_a_status_that_cannot_be_read_is_refused_and_no_failure(valkey):
    async with struck(valkey) as (bench, link):
        request = await bench.submitted(stored=True)
        worker = await bench.worker()
        await bench.claimed(worker)
        name = keys.of_response(request.response_id).hash
        await link.command("HSET", name, "status", "paused")

        assert await bench.gateway.follow(request.response_id, "alice", None, -1, None) is Refused.UNREADABLE
        assert await bench.gateway.attend([Watch(request.response_id, "tab")]) == [None]
        assert await bench.gateway.cancel(request.response_id, "alice") is Refused.UNREADABLE


async def test_a_conversation_that_cannot_be_read_is_refused_and_no_failure(valkey):
    async with struck(valkey) as (bench, link):
        request = await bench.submitted(stored=True)
        name = keys.conversation(request.response_id)
        await link.command("HSET", name, "principal", "alice", "body", b"\xff", "text", "")

        assert await bench.gateway.recall(request.response_id, "alice") is Refused.UNREADABLE


def test_an_announcement_that_cannot_be_read_hides_no_other():
    worker = b'[9,{"worker":"w","model":"m","build":"b","context_length":8,"slots":1,"more":[1]}]'
    gateway = b'[9,{"gateway":"g","version":"1"},"more"]'

    assert [each.info.worker for each in workers([b"\xff", b'[9,{"worker":1}]', worker], 8)] == ["w"]
    assert [each.info.gateway for each in gateways([b"{", gateway], 8)] == ["g"]


async def test_what_stays_of_a_deleted_response_for_its_viewers_stays_for_seconds(valkey):
    async with struck(valkey) as (bench, link):
        request = await bench.submitted(stored=True)
        assert await bench.gateway.delete(request.response_id, "alice")
        names = keys.of_response(request.response_id)
        for name in (names.hash, names.log, names.attachments):
            assert 0 < int(await link.command("PTTL", name)) <= 1000 * DELETED_SECONDS
        assert await link.command("EXISTS", keys.conversation(request.response_id)) == 0
