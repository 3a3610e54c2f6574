import asyncio
import io
import random
import time
from dataclasses import replace

import msgspec
import pytest
from gateway_bench import PACE, Hand, until
from gateway_logs import Book, make_request
from prometheus_client import CollectorRegistry

from gateway.errors import Code
from gateway.hub import Hub
from gateway.metrics import Metrics
from gateway.times import Viewing
from shared.log import LiveMessage, Status
from shared.observe import make_logger
from shared.store.contract import Refused, StoreUnavailable, WorkerInfo
from shared.store.memory import (
    MemoryGatewayStore,
    MemoryLive,
    MemoryServer,
    MemoryWorkerStore,
    lose_tail,
)


class Lines:
    """A channel whose faults the test chooses: each message becomes the messages that arrive."""

    def __init__(self, server, deliver):
        self.deliver = deliver
        self.fault = lambda message: [message]
        self.live = MemoryLive(server, self._come)
        self.subscribed = []
        self.unsubscribed = []

    def _come(self, response_id, message):
        for each in self.fault(message):
            self.deliver(response_id, each)

    async def subscribe(self, response_id):
        self.subscribed.append(response_id)
        await self.live.subscribe(response_id)

    def unsubscribe(self, response_id):
        self.unsubscribed.append(response_id)
        self.live.unsubscribe(response_id)


class Shaky(MemoryGatewayStore):
    """A store that can be out of reach."""

    down = False
    reads = 0
    readable = 10_000
    """Events up to here are of a version that is known; none of it if that is less than nothing."""

    async def follow(self, *arguments):
        if self.down:
            raise StoreUnavailable("down")
        self.reads += 1
        if self.readable < 0:
            return Refused.UNREADABLE
        log = await super().follow(*arguments)
        if isinstance(log, Refused) or log.last <= self.readable:
            return log
        known = tuple(entry for entry in log.entries if entry.upto <= self.readable)
        return replace(log, entries=known, unreadable="another letter")

    async def attend(self, watches):
        if self.down:
            raise StoreUnavailable("down")
        return await super().attend(watches)

    async def detach(self, *arguments):
        if self.down:
            raise StoreUnavailable("down")
        await super().detach(*arguments)


class Scene:
    def __init__(self):
        self.server = MemoryServer(time.time)
        self.store = Shaky(self.server)
        self.registry = CollectorRegistry()
        self.logged = io.StringIO()
        self.metrics = Metrics(self.registry)
        log = make_logger("gateway", self.logged)
        self.hub = Hub(self.store, name="g", clock=time.monotonic, log=log, metrics=self.metrics, pace=PACE)
        self.lines = Lines(self.server, self.hub.on_live)
        self.hub.listen(self.lines)
        worker = MemoryWorkerStore(self.server, worker="w", model="tiny", build="b")
        self.hand = Hand(worker, WorkerInfo("w", "tiny", "b", 512, 4))
        self.request = make_request()

    async def submitted(self):
        await self.store.submit(self.request, "asker", 64)
        return await self.hand.claim()

    def follow(self, **cursor):
        book = Book()
        attachment = self.hub.attach(
            self.request.response_id,
            "alice",
            book,
            Viewing(self.metrics),
            watcher=self.hub.watcher(),
            **cursor,
        )
        return book, attachment


@pytest.fixture
async def scene():
    made = Scene()
    made.hub.start()
    yield made
    await made.hub.stop()
    assert not list(made.hub.attachments)
    assert sorted(made.lines.subscribed) == sorted(made.lines.unsubscribed)
    assert "task_failed" not in made.logged.getvalue()


async def test_one_subscription_serves_all_readers_of_a_response(scene):
    claim = await scene.submitted()
    books = [scene.follow()[0] for _ in range(3)]
    await until(lambda: len(books[2].numbers) == 4)
    await scene.hand.say(claim, "a", "b")
    await scene.hand.finish(claim)
    for book in books:
        await book.wait()
        assert (book.text, book.numbers) == ("ab", list(range(10)))
    assert scene.lines.subscribed == [claim.response_id]


async def test_a_lost_message_is_read_from_the_log(scene):
    claim = await scene.submitted()
    book, _ = scene.follow()
    await until(lambda: len(book.numbers) == 4)
    scene.lines.fault = lambda _: []
    await scene.hand.say(claim, "a", "b")
    scene.lines.fault = lambda message: [message]
    await scene.hand.say(claim, "c")
    await until(lambda: book.text == "abc")
    assert book.numbers == list(range(7))


async def test_a_lost_ending_is_found_by_the_timer(scene):
    claim = await scene.submitted()
    book, _ = scene.follow()
    await until(lambda: len(book.numbers) == 4)
    scene.lines.fault = lambda _: []
    await scene.hand.say(claim, "a")
    await scene.hand.finish(claim)
    await book.wait()
    assert book.types[-1] == "response.completed"
    assert book.text == "a"


async def test_whatever_the_channel_does_the_reader_gets_the_log(scene):
    chance = random.Random(7)
    late = []

    def fault(message):
        match chance.choice(["lose", "twice", "late", "fine", "fine"]):
            case "lose":
                return []
            case "twice":
                return [message, message]
            case "late":
                late.append(message)
                return []
        return [message, *late]

    scene.lines.fault = fault
    claim = await scene.submitted()
    books = [scene.follow()[0] for _ in range(5)]
    texts = [f"{n};" for n in range(200)]
    for at, text in enumerate(texts):
        await scene.hand.say(claim, text)
        await asyncio.sleep(0)
        if at == 100:
            await scene.hand.store.release(claim)
            upto = scene.hand.upto[claim.response_id]
            claim = await scene.hand.claim()
            assert claim.upto == upto
    await scene.hand.finish(claim)
    for book in books:
        await book.wait()
        assert book.numbers == list(range(4 + 200 + 4))
        assert book.text == "".join(texts)
        assert book.types[-1] == "response.completed"


async def test_a_new_link_means_that_all_logs_are_read(scene):
    claim = await scene.submitted()
    book, attachment = scene.follow()
    await until(lambda: len(book.numbers) == 4)
    scene.lines.fault = lambda _: []
    await scene.hand.say(claim, "a")
    attachment.attended = attachment.heard = time.monotonic() + 100  # the timer shall not be what finds it
    scene.hub.on_link()
    await until(lambda: book.text == "a")


async def test_a_store_out_of_reach_is_asked_again(scene):
    claim = await scene.submitted()
    scene.store.down = True
    book, _ = scene.follow()
    await asyncio.sleep(0.05)
    assert book.numbers == []
    scene.store.down = False
    await until(lambda: len(book.numbers) == 4)
    scene.store.down = True
    await scene.hand.say(claim, "a")
    await scene.hand.finish(claim)
    await until(lambda: book.text == "a")
    assert not book.over.is_set()
    scene.store.down = False
    await book.wait()


async def test_a_detached_reader_gets_nothing_more_and_the_store_is_told(scene):
    claim = await scene.submitted()
    book, attachment = scene.follow()
    await until(lambda: len(book.numbers) == 4)
    scene.hub.detach(attachment)
    scene.hub.detach(attachment)
    await scene.hand.say(claim, "a")
    record = scene.server.records[claim.response_id]
    await until(lambda: record.attached[attachment.watcher] <= scene.server.ms())
    assert book.text == ""


async def test_a_reader_that_leaves_while_it_joins_leaves_nothing(scene):
    await scene.submitted()
    _, attachment = scene.follow()
    scene.hub.detach(attachment)
    await until(lambda: scene.lines.unsubscribed)
    assert not list(scene.hub.attachments)


async def test_a_reader_that_left_while_its_read_waited_its_turn_is_not_attached_again(scene):
    await scene.submitted()
    turns = scene.hub._reads._value
    for _ in range(turns):
        await scene.hub._reads.acquire()
    _, attachment = scene.follow()
    await until(lambda: attachment.reading)
    scene.hub.detach(attachment)
    for _ in range(turns):
        scene.hub._reads.release()
    await until(lambda: not attachment.reading)
    assert attachment.watcher not in scene.server.records[scene.request.response_id].attached


async def test_an_attachment_is_renewed_while_nothing_happens(scene):
    claim = await scene.submitted()
    book, attachment = scene.follow()
    await until(lambda: len(book.numbers) == 4)
    record = scene.server.records[claim.response_id]
    lease = record.attached[attachment.watcher]
    reads = scene.store.reads
    await until(lambda: record.attached[attachment.watcher] > lease)
    assert scene.store.reads == reads  # the cheap look was enough


async def test_an_unknown_response_fails_the_reader(scene):
    book, _ = scene.follow()
    await book.wait()
    assert book.error.code is Code.RESPONSE_NOT_FOUND


async def test_a_log_that_expires_under_a_reader_cannot_be_resumed(scene):
    claim = await scene.submitted()
    book, _ = scene.follow()
    await until(lambda: len(book.numbers) == 4)
    del scene.server.records[claim.response_id]
    await book.wait()
    assert book.error.code is Code.RESUME_UNAVAILABLE


async def test_other_words_under_old_numbers_are_never_shown(scene):
    claim = await scene.submitted()
    await scene.hand.say(claim, "a", "b", "c")
    book, _ = scene.follow()
    await until(lambda: book.text == "abc")
    lose_tail(scene.server, claim.response_id, 2)  # and its owner dies with it
    await scene.hand.store.release(claim)
    again = await scene.hand.claim()
    await scene.hand.say(again, "X", "Y", "Z")
    await book.wait()
    assert book.text == "abc"
    assert book.error.code is Code.RESUME_UNAVAILABLE


async def test_a_cursor_of_a_lost_lineage_is_refused(scene):
    claim = await scene.submitted()
    await scene.hand.say(claim, "a", "b")
    old_epoch = claim.epoch
    lose_tail(scene.server, claim.response_id, 1)
    await scene.hand.store.release(claim)
    again = await scene.hand.claim()
    await scene.hand.say(again, "X", "Y")
    book, _ = scene.follow(after=5, epoch=old_epoch)
    await book.wait()
    assert book.error.code is Code.RESUME_UNAVAILABLE


async def test_a_lost_tail_that_its_owner_writes_again_is_awaited(scene):
    claim = await scene.submitted()
    await scene.hand.say(claim, "a", "b", "c")
    record = scene.server.records[claim.response_id]
    tail = record.log[-2:]
    book, _ = scene.follow()
    await until(lambda: book.text == "abc")
    lose_tail(scene.server, claim.response_id, 2)
    await asyncio.sleep(0.3)  # long enough for the timer to have looked
    assert not book.over.is_set()
    record.log += tail
    await scene.hand.finish(claim)
    await book.wait()
    assert book.text == "abc"
    assert book.numbers == list(range(11))


async def test_what_can_be_read_is_shown_and_then_the_viewer_is_sent_elsewhere(scene):
    claim = await scene.submitted()
    scene.store.readable = 5  # the second delta, or the ending, is of a newer version
    book, _ = scene.follow()
    await until(lambda: len(book.numbers) == 4)
    await scene.hand.say(claim, "a")
    assert not book.over.is_set()

    scene.lines.fault = lambda message: [msgspec.structs.replace(message, kind=b"z")]
    await scene.hand.say(claim, "b")

    await book.wait()
    assert book.text == "a"
    assert (book.error.code, book.error.status) == (Code.SERVER_DRAINING, 503)
    assert "newer version" in book.error.message
    assert scene.registry.get_sample_value("tokenwire_unreadable_total") == 1
    reads = scene.store.reads
    await asyncio.sleep(10 * PACE.again)
    assert scene.store.reads == reads, "it is not read again and again"
    record = scene.server.records[claim.response_id]
    assert max(record.attached.values()) > scene.server.ms(), "its lease stands until it has come back"


async def test_an_ending_behind_what_is_newer_is_not_made_up(scene):
    claim = await scene.submitted()
    await scene.hand.say(claim, "a", "b", "c")
    await scene.hand.finish(claim)
    scene.store.readable = 5

    book, _ = scene.follow(after=5)  # it has seen that at another gateway

    await book.wait()
    assert book.error.code is Code.SERVER_DRAINING
    assert book.numbers == []


async def test_a_request_that_is_unreadable_sends_its_viewer_elsewhere(scene):
    await scene.submitted()
    scene.store.readable = -1

    book, _ = scene.follow(asked=True)

    await book.wait()
    assert book.error.code is Code.SERVER_DRAINING


async def test_a_message_for_nobody_is_dropped(scene):
    scene.hub.on_live("resp_nobody", LiveMessage(5, 1, b"d", 1, b"x"))
    assert not list(scene.hub.attachments)


async def test_nothing_is_followed_before_there_is_a_channel():
    hub = Scene().hub
    hub._live = None
    with pytest.raises(RuntimeError):
        hub.attach("resp_1", "alice", Book(), None, watcher="w")


async def test_a_cancelled_response_ends_for_every_reader(scene):
    claim = await scene.submitted()
    book, _ = scene.follow()
    await scene.hand.say(claim, "a")
    await scene.store.cancel(claim.response_id, "alice")
    await book.wait()
    assert book.types[-1] == "response.incomplete"
    assert scene.server.records[claim.response_id].status is Status.CANCELLED
