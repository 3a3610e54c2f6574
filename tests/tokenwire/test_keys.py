import asyncio
import re
import time

import pytest

from shared.api_key import parse
from shared.store.access import RedisAccess
from shared.store.link import Link
from tokenwire.__main__ import main


@pytest.fixture
def keys(valkey, monkeypatch, capsys):
    """Run `tokenwire keys` on an emptied server; return the exit code and what it said."""
    monkeypatch.setenv("REDIS_URL", valkey)

    def run(*arguments):
        code = main(["keys", *arguments])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


@pytest.fixture(autouse=True)
async def access(valkey):
    link = Link.to(valkey)
    await link.command("FLUSHALL")
    yield RedisAccess(link)
    await link.close()


async def in_thread(keys, *arguments):

    return await asyncio.to_thread(keys, *arguments)


async def test_a_key_is_shown_once_and_kept_as_a_digest(keys, access, valkey):
    code, said = await in_thread(keys, "create", "alice")
    key = parse(said.splitlines()[-1])
    assert code == 0
    record = await access.key(key.id)
    assert (record.name, record.digest, record.expires, record.quota) == ("alice", key.digest, None, None)
    link = Link.to(valkey)
    stored = b"".join(await link.command("HVALS", "{auth}k"))
    await link.close()
    assert key.text.encode() not in stored
    assert key.text[14:].encode() not in stored
    _, listed = await in_thread(keys, "list")
    assert re.search(
        rf"^{key.id}  alice  made .* UTC  never ends$|^{key.id}  alice  made .*never ends$",
        listed,
        re.MULTILINE,
    )
    assert key.text not in listed


async def test_a_key_may_end_and_have_bounds_of_its_own(keys, access):
    _, said = await in_thread(
        keys, "create", "alice", "--days", "0.5", "--sockets", "2", "--tokens-per-minute", "1000"
    )
    record = await access.key(parse(said.splitlines()[-1]).id)
    assert abs(record.expires - time.time() - 43_200) < 60
    assert (record.quota.sockets, record.quota.tokens_per_minute, record.quota.responses) == (2, 1000, 0)
    _, listed = await in_thread(keys, "list")
    assert "sockets=2 tokens_per_minute=1000" in listed


async def test_a_revoked_key_is_gone(keys, access):
    _, said = await in_thread(keys, "create", "alice")
    key_id = parse(said.splitlines()[-1]).id
    assert await in_thread(keys, "revoke", key_id) == (0, f"revoked {key_id}\n")
    assert await access.key(key_id) is None
    code, said = await in_thread(keys, "revoke", key_id)
    assert (code, said) == (2, f"There is no key {key_id}: `tokenwire keys list` shows them.\n")


async def test_everything_of_a_principal_is_revoked_at_once(keys, access):
    for name in ("alice", "alice", "bob"):
        await in_thread(keys, "create", name)
    code, said = await in_thread(keys, "revoke", "--principal", "alice")
    assert (code, said.count("revoked")) == (0, 3)
    assert [record.name for record in await access.all_keys()] == ["bob"]
    assert await access.revoked_at("alice") is not None


async def test_an_empty_list_says_what_to_do(keys):
    assert await in_thread(keys, "list") == (
        0,
        "There are no keys: make one with `tokenwire keys create NAME`.\n",
    )


@pytest.mark.parametrize("name", ["jwt:alice", "a b", "", "x" * 65])
async def test_a_name_that_cannot_be_one_is_refused(keys, name):
    code, said = await in_thread(keys, "create", name)
    assert code == 2
    assert "can't be a key's name" in said


async def test_a_store_that_is_not_there_is_said(keys):
    code, said = await in_thread(keys, "list", "--redis-url", "redis://127.0.0.1:1")
    assert code == 1
    assert "--redis-url" in said
