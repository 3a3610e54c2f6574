from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.store.call import ServerError
from shared.store.contract import StoreUnavailable
from shared.store.link import Link, WrongLink
from shared.store.scripts import Script, load_scripts


@pytest.fixture
async def link(valkey: str) -> AsyncIterator[Link]:
    made = Link.to(valkey)
    yield made
    await made.close()


@pytest.fixture
async def other(valkey: str) -> AsyncIterator[Link]:
    """A second connection, to strike the first with."""
    made = Link.to(valkey)
    yield made
    await made.close()


async def kill(victim: Link, by: Link) -> None:
    await by.command("CLIENT", "KILL", "ID", await victim.command("CLIENT", "ID"))


async def test_concurrent_commands_get_their_own_replies(link: Link):
    replies = await asyncio.gather(*(link.command("ECHO", str(n)) for n in range(1000)))

    assert [int(reply) for reply in replies] == list(range(1000))
    assert link.number == 1


async def test_a_caller_that_is_cancelled_leaves_no_reply_for_the_next(link: Link):
    calls = [asyncio.create_task(link.command("ECHO", str(n))) for n in range(10)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()

    results = await asyncio.gather(*calls, return_exceptions=True)

    assert [int(reply) for reply in results[1::2]] == [1, 3, 5, 7, 9]
    assert await link.command("ECHO", "next") == b"next"


async def test_an_error_of_the_server_is_the_callers_alone(link: Link):
    good, bad = link.command("PING"), link.command("HGET", "only-one-argument")

    results = await asyncio.gather(good, bad, return_exceptions=True)

    assert results[0] == b"PONG"
    assert isinstance(results[1], ServerError)


@pytest.mark.parametrize("argument", ["\ud800", None])
async def test_what_cannot_be_encoded_is_an_error_of_its_callers_alone(link: Link, argument: object):
    good, bad = link.command("PING"), link.command("ECHO", argument)

    results = await asyncio.wait_for(asyncio.gather(good, bad, return_exceptions=True), 20)

    assert results[0] == b"PONG"
    assert isinstance(results[1], TypeError | ValueError)
    assert await asyncio.wait_for(link.connect(), 20) == 1


async def test_a_lost_connection_fails_what_had_no_reply_and_comes_back_under_a_new_number(
    link: Link, other: Link
):
    await link.connect()
    await kill(link, other)

    with pytest.raises(StoreUnavailable):
        await link.command("PING")

    assert await link.connect() == 2


async def test_a_command_bound_to_a_link_that_is_no_more_is_not_sent(link: Link, other: Link):
    number = await link.connect()
    await other.command("DEL", "bound")
    await kill(link, other)
    with pytest.raises(StoreUnavailable):
        await link.command("PING")

    with pytest.raises(WrongLink):
        await link.command("SET", "bound", "1", link=number)

    assert await other.command("EXISTS", "bound") == 0


async def test_a_server_that_forgot_the_scripts_is_taught_again(link: Link):
    script = Script("answer", "return 42", "0" * 40)

    assert await link.script(script, ()) == 42
    await link.command("SCRIPT", "FLUSH")
    replies = await asyncio.gather(*(link.script(script, ()) for _ in range(3)))
    assert replies == [42, 42, 42]


async def test_a_server_that_is_not_there_is_said_at_once(tmp_path):
    link = Link.to(f"unix://{tmp_path}/nobody")

    with pytest.raises(StoreUnavailable, match=r"does not answer: .*[^.]$"):
        await link.command("PING")

    await link.close()


async def test_a_server_that_hangs_is_given_up_after_the_time_allowed(valkey: str, other: Link):
    link = Link.to(valkey, timeout=0.05)
    await other.command("CLIENT", "PAUSE", "300", "ALL")

    with pytest.raises(StoreUnavailable, match=r"does not answer: nothing came within 0\.05 s$"):
        await link.command("PING")

    await link.close()


async def test_a_closed_link_takes_no_more_commands(link: Link):
    await link.command("PING")
    await link.close()

    with pytest.raises(StoreUnavailable, match="closed"):
        await link.command("PING")


def test_every_verb_has_its_script_with_its_head_comment():
    for script in load_scripts().values():
        lines = script.source.splitlines()
        assert lines[0].startswith("#!lua"), script.name
        assert any(line.startswith("-- KEYS") for line in lines), script.name
        assert any(line.startswith("-- reply") for line in lines), script.name


async def test_a_link_is_closed_at_once_though_what_connects_swallows_a_cancellation(
    valkey: str, monkeypatch
):
    begun = asyncio.Event()

    async def swallowing(_place, _timeout):
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    monkeypatch.setattr("shared.store.link.open_connection", swallowing)
    link = Link.to(valkey, timeout=3600)
    asking = asyncio.create_task(link.command("PING"))
    await begun.wait()
    closing = asyncio.create_task(link.close())
    await asyncio.wait([closing], timeout=40)  # not asyncio.timeout: its cancellation would end what hangs
    assert closing.done()
    with pytest.raises(StoreUnavailable):
        await asking


async def test_what_cannot_be_packed_is_its_callers_error_alone(link: Link):
    good = asyncio.create_task(link.command("ECHO", "good"))
    with pytest.raises(UnicodeEncodeError):
        await link.command("ECHO", "half of a pair: \ud800")
    assert await good == b"good"


async def test_a_failure_that_nobody_foresaw_fails_its_own_packet_and_holds_up_nobody_behind_it(
    link: Link, monkeypatch: pytest.MonkeyPatch
):
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    exchange, problems = Link._exchange, [ValueError("a reply that is none")]

    async def fails_once(self: Link, *arguments: Any) -> None:
        if problems:
            raise problems.pop()
        await exchange(self, *arguments)

    monkeypatch.setattr(Link, "_exchange", fails_once)
    with pytest.raises(StoreUnavailable):
        await link.command("PING")

    async with asyncio.timeout(40):
        assert await link.command("ECHO", "next") == b"next"
    assert [str(each["exception"]) for each in told] == ["a reply that is none"]


async def test_a_link_is_idle_when_nothing_is_on_its_way(link: Link):
    asked = asyncio.create_task(link.command("BLPOP", "nothing", "0.3"))
    await asyncio.sleep(0)
    async with asyncio.timeout(40):
        await link.idle()
    await asyncio.sleep(0)  # the reply is there: its caller takes it
    await asyncio.sleep(0)
    assert asked.done()
