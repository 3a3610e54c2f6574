import asyncio

import pytest
from servers import Nodes, Watched

from shared.api_key import KeyRecord
from shared.quota import Quota
from shared.store.access import LONGEST_SECONDS, RedisAccess, RevocationReader, Ticket
from shared.store.connect import connect


@pytest.fixture(params=["valkey", "redis7", "sentinel", "nodes"])
async def access(request):
    """The verbs on each kind of server, emptied."""
    running: str | Watched | Nodes = request.getfixturevalue(request.param)
    url = running if isinstance(running, str) else running.url
    link = connect(url)
    for primary in await link.primaries():
        await primary.command("FLUSHALL")
    made = RedisAccess(link)
    made.url, made.link = url, link
    yield made
    await link.close()


ALICE = KeyRecord("id1", "alice", "digest", 100, 200, Quota(sockets=3))
BOB = KeyRecord("id2", "bob", "digest", 50)
TICKET = Ticket("alice", "key", "id1", "https://chat.example", 7.5, Quota(responses=2))


async def test_a_key_is_found_until_it_is_revoked(access):
    for record in (ALICE, BOB):
        await access.add_key(record)
    assert await access.key("id1") == ALICE
    assert await access.key("id3") is None
    assert await access.all_keys() == [BOB, ALICE]
    assert await access.revoke_key("id1")
    assert not await access.revoke_key("id1")
    assert await access.key("id1") is None
    assert await access.all_keys() == [BOB]


async def test_a_ticket_lets_in_once(access):
    await access.put_ticket("d", TICKET, 30.0)
    taken = await asyncio.gather(*(access.take_ticket("d") for _ in range(5)))
    assert [each for each in taken if each is not None] == [TICKET]
    assert await access.take_ticket("d") is None


async def test_a_ticket_runs_out(access):
    await access.put_ticket("d", TICKET, 30.0)
    remaining = await access.link.command("PTTL", "ticket:d")
    assert 0 < remaining <= 30_000


async def test_a_revoked_principal_is_remembered_for_as_long_as_a_token_may_last(access):
    assert await access.revoked_at("jwt:alice") is None
    await access.revoke_principal("jwt:alice")
    seconds, _ = await access.link.command("TIME")
    assert abs(await access.revoked_at("jwt:alice") - int(seconds)) < 20
    (key,) = [
        key for primary in await access.link.primaries() for key in await primary.command("KEYS", "{auth}n:*")
    ]
    assert LONGEST_SECONDS - 20 < await access.link.command("TTL", key) <= LONGEST_SECONDS
    assert b"alice" not in key


async def test_every_gateway_hears_of_a_revocation(access):
    heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    readers = [
        RevocationReader(access.url, lambda kind, which: heard.put_nowait((kind, which)), lambda: None)
        for _ in range(2)
    ]
    for reader in readers:
        reader.start()
    try:
        async with asyncio.timeout(20):
            await asyncio.gather(*(reader.ready() for reader in readers))
            await access.revoke_key("id1")
            await access.revoke_principal("jwt:a b")
            told = sorted([await heard.get() for _ in range(4)])
    finally:
        for reader in readers:
            await reader.close()
    assert told == [("key", "id1")] * 2 + [("principal", "jwt:a b")] * 2
