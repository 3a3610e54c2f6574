from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.log import new_response_id
from shared.store import keys
from shared.store.channels import ChannelReader
from shared.store.connect import listen
from shared.store.link import Link
from shared.store.live import LiveReader
from shared.store.place import Fixed, Options


class Heard:
    """What a reader heard, as it comes."""

    def __init__(self, url: str) -> None:
        self.messages: asyncio.Queue[tuple[bytes, bytes]] = asyncio.Queue()
        self.links: asyncio.Queue[None] = asyncio.Queue()
        self.reader = listen(url, self._message, lambda: self.links.put_nowait(None))
        self.reader.start()

    def _message(self, channel: bytes, data: bytes) -> None:
        self.messages.put_nowait((channel, data))

    async def next(self) -> tuple[bytes, bytes]:
        return await asyncio.wait_for(self.messages.get(), 40)

    async def linked(self) -> None:
        await asyncio.wait_for(self.links.get(), 40)


@pytest.fixture
async def heard(valkey: str) -> AsyncIterator[Heard]:
    made = Heard(valkey)
    yield made
    await made.reader.close()


@pytest.fixture
async def link(valkey: str) -> AsyncIterator[Link]:
    made = Link.to(valkey)
    yield made
    await made.close()


async def test_a_confirmed_subscription_hears_everything_that_is_published_after(heard: Heard, link: Link):
    await asyncio.wait_for(heard.reader.subscribe(b"{p0}c:x"), 40)

    for n in range(3):
        assert await link.command("SPUBLISH", "{p0}c:x", str(n)) == 1

    assert [await heard.next() for _ in range(3)] == [(b"{p0}c:x", str(n).encode()) for n in range(3)]


async def test_a_thousand_channels_are_subscribed_on_one_connection(heard: Heard, link: Link):
    channels = [f"{{p0}}c:{n}".encode() for n in range(1000)]
    await asyncio.wait_for(asyncio.gather(*map(heard.reader.subscribe, channels)), 40)

    await link.command("SPUBLISH", channels[-1], "last")

    assert await heard.next() == (channels[-1], b"last")
    assert heard.reader.links == 1


async def test_an_unsubscribed_channel_is_silent(heard: Heard, link: Link):
    await heard.reader.subscribe(b"{p0}c:a")
    heard.reader.unsubscribe(b"{p0}c:a")
    await heard.reader.subscribe(b"{p0}c:b")

    assert await link.command("SPUBLISH", "{p0}c:a", "unheard") == 0
    await link.command("SPUBLISH", "{p0}c:b", "heard")

    assert await heard.next() == (b"{p0}c:b", b"heard")


async def test_a_new_link_is_said_when_all_subscriptions_stand_again(heard: Heard, link: Link):
    await heard.reader.subscribe(b"{p0}c:a")
    await heard.reader.subscribe(b"{p0}c:b")
    await heard.linked()

    await link.command("CLIENT", "KILL", "TYPE", "PUBSUB")
    await heard.linked()

    assert heard.reader.links == 2
    for channel in (b"{p0}c:a", b"{p0}c:b"):
        assert await link.command("SPUBLISH", channel, "again") == 1
        assert await heard.next() == (channel, b"again")


async def test_a_wait_for_a_subscription_ends_on_the_next_link(heard: Heard, link: Link):
    await heard.linked()
    waiting = asyncio.create_task(heard.reader.subscribe(b"{p0}c:a"))
    await link.command("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "yes")

    await asyncio.wait_for(waiting, 40)

    assert await link.command("SPUBLISH", "{p0}c:a", "x") == 1


async def test_a_server_that_is_not_there_yet_is_tried_again(tmp_path):
    heard = Heard(f"unix://{tmp_path}/later")
    waiting = asyncio.create_task(heard.reader.subscribe(b"{p0}c:a"))
    await asyncio.sleep(0)

    assert not heard.reader.connected
    assert not waiting.done()
    await heard.reader.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


class Deaf:
    """A place whose finding swallows a cancellation, as client libraries may."""

    moves = True

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def find(self):
        self.asked.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return {"path": "/nowhere/to/go"}


async def test_a_reader_is_closed_at_once_though_what_it_asks_swallows_a_cancellation():
    place = Deaf()
    reader = ChannelReader(place, lambda _channel, _data: None)
    reader.start()
    await place.asked.wait()

    closing = asyncio.create_task(reader.close())
    await asyncio.wait([closing], timeout=40)  # not asyncio.timeout: its cancellation would end what hangs

    assert closing.done()


async def test_a_message_of_another_version_cuts_no_link(valkey: str, link: Link):
    heard: asyncio.Queue[int] = asyncio.Queue()
    links: asyncio.Queue[None] = asyncio.Queue()
    response_id = new_response_id(0)
    live = LiveReader(
        valkey, lambda _, message: heard.put_nowait(message.upto), lambda: links.put_nowait(None)
    )
    live.start()
    await asyncio.wait_for(live.subscribe(response_id), 40)

    for data in (b"5 1 d 9 a", b"\xff", b"", b"2 words", b"6 1 d 9 b"):
        await link.command("SPUBLISH", keys.channel(response_id), data)

    assert [await asyncio.wait_for(heard.get(), 40) for _ in range(2)] == [5, 6]
    assert links.qsize() == 1
    await live.close()


async def test_a_failure_that_nobody_foresaw_does_not_end_the_listening(
    valkey: str, monkeypatch: pytest.MonkeyPatch
):
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    find, failed = Fixed.find, []

    async def fails_once(self: Fixed) -> Options:
        if not failed:
            failed.append(1)
            raise ValueError("a host that is no name")
        return await find(self)

    monkeypatch.setattr(Fixed, "find", fails_once)
    heard = Heard(valkey)
    await heard.linked()
    await heard.reader.close()

    assert [str(each["exception"]) for each in told] == ["a host that is no name"]
