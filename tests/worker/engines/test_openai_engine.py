"""The engine against a server that fails in every way."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from engines import Heard, order
from upstream import PATIENCE, Fault, Upstream, serving, upstream_options

from shared.log import Reason
from worker.engines.contract import Ended
from worker.engines.openai.answer import BROKE_OFF
from worker.engines.openai.engine import OpenAIEngine


class Bench:
    """An engine, what it says, and a way to wait for it."""

    def __init__(self, options):
        self.engine = OpenAIEngine(options)
        self.heard = Heard()
        self._news = asyncio.Event()

    def on_step(self, events):
        self.heard.events += events
        self._news.set()

    async def until(self, ask):
        async with asyncio.timeout(PATIENCE):
            while not ask():
                self._news.clear()
                await self._news.wait()

    async def answer(self, one):
        self.engine.submit(one)
        await self.until(lambda: self.heard.endings(one.response_id))
        return self.heard.answer(one.response_id)


@contextlib.asynccontextmanager
async def asking(*upstreams, **options):
    bench = Bench(upstream_options(*upstreams, **options))
    await bench.engine.start(bench.on_step)
    try:
        yield bench
    finally:
        await bench.engine.close()


TALK = order("a", "one two three")
SAID = ("one two three one two three one two three one two three", list(range(12)), "max_output_tokens")


async def test_a_cancel_closes_the_connection_and_frees_the_slot():
    async with serving() as upstream, asking(upstream) as bench:
        bench.engine.submit(order("a", "one two three", max_tokens=200))
        await bench.until(lambda: bench.heard.text("a"))
        bench.engine.cancel("a")
        bench.heard.events.clear()
        await asyncio.wait_for(upstream.asked[0].left.wait(), PATIENCE)
        assert upstream.asked[0].sent < 200
        assert (bench.engine.stats().running, bench.heard.events) == (0, [])


async def test_closing_closes_every_connection():
    async with serving() as upstream:
        async with asking(upstream) as bench:
            for name in "abc":
                bench.engine.submit(order(name, max_tokens=200))
            await bench.until(lambda: all(bench.heard.text(name) for name in "abc"))
        for asked in upstream.asked:
            await asyncio.wait_for(asked.left.wait(), PATIENCE)
        assert not bench.engine.healthy


async def test_what_waits_for_a_slot_is_not_asked():
    async with serving() as upstream, asking(upstream, slots=1) as bench:
        bench.engine.submit(order("a", max_tokens=200))
        bench.engine.submit(order("b"))
        await bench.until(lambda: bench.heard.text("a"))
        bench.engine.cancel("b")
        assert len(upstream.asked) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(503, headers=(("retry-after", "0"),)),
        Fault(429),
        Fault(500, b"<html>", "text/html"),
        Fault(after=0),
        Fault(200, b"{}", "text/event-stream"),
        Fault(after=0, say=b'{"error": {"message": "CUDA", "code": 500}}'),
    ],
    ids=[
        "busy",
        "limited",
        "broken",
        "cut before the first token",
        "not a word",
        "an error as the first word",
    ],
)
async def test_before_the_first_token_it_is_asked_again(fault):
    async with serving() as upstream, asking(upstream) as bench:
        upstream.faults.append(fault)
        assert await bench.answer(TALK) == SAID
        assert len(upstream.asked) == 2


async def test_what_goes_on_behind_a_text_is_asked_for_as_much_as_there_is_room_for():
    async with serving(Upstream(context=40)) as upstream, asking(upstream) as bench:
        whole, ids, reason = await bench.answer(order("a", "one two three", max_tokens=60))
        logged = " ".join(whole.split()[:20])
        rest = order("b", "one two three", max_tokens=60, ids=range(20), logged=logged)
        assert await bench.answer(rest) == (whole.removeprefix(logged), ids[20:], reason)
        assert (len(ids), reason) == (37, "max_output_tokens")


async def test_a_refusal_that_comes_as_the_first_word_of_a_stream_is_one():
    async with serving() as upstream, asking(upstream) as bench:
        upstream.faults.append(Fault(after=0, say=b'{"error": {"message": "no such thing", "code": 400}}'))
        await bench.answer(TALK)
        assert bench.heard.endings("a")[0].message == "The upstream refused the request (400): no such thing"
        assert len(upstream.asked) == 1


@pytest.mark.parametrize("ends", ["silence", "cut"])
async def test_an_answer_whose_end_was_told_is_whole_whatever_comes_behind(ends, monkeypatch):
    monkeypatch.setattr("worker.engines.openai.engine._LAST_WORD_SECONDS", 0.05)
    async with serving() as upstream, asking(upstream) as bench:
        upstream.faults.append(Fault(ends=ends))
        assert await bench.answer(TALK) == SAID
        assert bench.engine._known.upstreams[0].failures == 0
        assert len(upstream.asked) == 1


async def test_after_the_first_token_it_is_never_asked_again():
    async with serving() as upstream, asking(upstream) as bench:
        upstream.faults.append(Fault(after=3))
        text, ids, _ = await bench.answer(TALK)
        assert (text, ids) == ("one two three", [0, 1, 2])
        assert bench.heard.endings("a") == [Ended("a", Reason.ERROR, BROKE_OFF)]
        assert len(upstream.asked) == 1


@pytest.mark.parametrize("say", [b'{"error": {"message": "CUDA"}}', b"no json", b"[1]"])
async def test_nonsense_in_mid_answer_is_an_error_and_closes_the_connection(say):
    async with serving() as upstream, asking(upstream) as bench:
        upstream.faults.append(Fault(after=2, say=say, hang=True))
        _, _, reason = await bench.answer(TALK)
        assert reason == Reason.ERROR
        assert "ask again" in bench.heard.endings("a")[0].message
        await asyncio.wait_for(upstream.asked[0].left.wait(), PATIENCE)


async def test_an_upstream_that_falls_silent_is_given_up_while_the_step_counter_moves():
    async with serving() as upstream, asking(upstream, silence_seconds=1.5) as bench:
        upstream.faults.append(Fault(after=2, hang=True))
        bench.engine.submit(TALK)
        await bench.until(lambda: len(bench.heard.ids("a")) == 2)
        steps = bench.engine.stats().steps
        await bench.until(lambda: bench.heard.endings("a"))
        assert bench.engine.stats().steps > steps + 1
        assert bench.heard.endings("a")[0].message == BROKE_OFF


async def test_a_refusal_is_told_and_harms_no_neighbour():
    async with serving() as upstream, asking(upstream) as bench:
        upstream.faults.append(Fault(422, b'{"error": {"message": "logit bias is not a thing"}}'))
        bench.engine.submit(order("bad"))
        assert await bench.answer(TALK) == SAID
        await bench.until(lambda: bench.heard.endings("bad"))
        (ended,) = bench.heard.endings("bad")
        assert ended.reason is Reason.ERROR
        assert "logit bias is not a thing" in ended.message


async def test_one_that_fails_is_left_alone_and_asked_again_when_it_has_rested():
    async with serving() as one, serving() as two, asking(one, two, slots=8) as bench:
        one.faults.append(Fault(503, headers=(("retry-after", "50"),)))
        for name in "abcd":
            assert await bench.answer(order(name, "one two three")) == SAID
        assert (len(one.asked), len(two.asked)) == (1, 4)
        bench.engine._known.upstreams[0].rests_until = 0.0
        assert await bench.answer(order("later", "one two three")) == SAID
        assert len(one.asked) == 2


async def test_load_is_shared():
    async with serving() as one, serving() as two, asking(one, two, slots=8) as bench:
        for n in range(8):
            bench.engine.submit(order(f"r{n}", max_tokens=100))
        await bench.until(lambda: all(bench.heard.text(f"r{n}") for n in range(8)))
        assert (len(one.asked), len(two.asked)) == (4, 4)


async def test_an_upstream_that_went_away_comes_back_without_a_new_worker():
    upstream = Upstream()
    async with contextlib.AsyncExitStack() as stack:
        async with serving(upstream):
            bench = await stack.enter_async_context(asking(upstream, retry_seconds=0.3))
            assert await bench.answer(TALK) == SAID
            bench.heard.events.clear()
        _, _, reason = await bench.answer(TALK)
        assert reason == Reason.ERROR
        assert "Ask again later" in bench.heard.endings("a")[0].message
        assert bench.engine.healthy
        bench.heard.events.clear()
        bench.engine._known.upstreams[0].rests_until = 0.0
        await stack.enter_async_context(serving(upstream))
        assert await bench.answer(TALK) == SAID


async def test_cached_tokens_and_the_key_pass_through():
    async with serving(Upstream(key="k")) as upstream, asking(upstream, key="k") as bench:
        await bench.answer(order("a", "one two three four"))
        pieces = bench.heard.pieces("a")
        assert (pieces[0].prompt_tokens, pieces[0].cached_tokens) == (4, 2)
        assert upstream.asked[0].headers["authorization"] == "Bearer k"
