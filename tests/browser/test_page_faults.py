"""Whatever fails under the page, the text goes on where it was: two stacks on one server, links between."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio
from chatting import (
    ANSWER,
    LIMIT,
    ask,
    kept,
    logged,
    output_of,
    seen,
    text_of,
    until_ended,
    until_said,
    until_words,
)
from cuttable import cuttable

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module")
async def link(pair):
    """Lead to one of the pair; a test may lead it to the other."""
    async with cuttable(pair[0].port) as made:
        yield made


async def test_reloads_at_five_moments_each_on_another_gateway_give_the_same_text(pair, link, open_page):
    page = await open_page(link.url)
    await ask(page)
    for turn, words in enumerate((1, 15, 35, 60, 85)):
        await until_words(page, words)
        link.target = pair[(turn + 1) % 2].port
        link.cut()
        await page.reload()
    await until_ended(page)
    assert await text_of(page) == ANSWER
    assert output_of(await logged(page)) == ANSWER


async def test_a_reload_before_the_first_word_asks_once(link, open_page):
    page = await open_page(link.url)
    await page.locator("#prompt").fill("once")
    await page.keyboard.press("Enter")
    await page.reload()
    await until_ended(page)
    [turn] = await kept(page)
    assert turn["text"] == "once " * 120


async def test_a_cut_socket_goes_on_at_another_gateway(pair, link, open_page):
    page = await open_page(link.url)
    await ask(page)
    await until_words(page, 20)
    link.target = pair[1].port
    link.cut()
    await until_said(page, r"^Generating · Resumed at token \d+, nothing lost$")
    await until_ended(page, f"{LIMIT} · reconnected once, nothing lost")
    assert await text_of(page) == ANSWER


async def test_a_second_tab_watches_live_and_may_stop(link, open_page):
    first = await open_page(link.url)
    await ask(first)
    await until_words(first, 10)
    second = await first.context.new_page()
    await second.goto(first.url)
    await until_words(second, 15)
    # What is asked in one tab while both are open is seen in the other, too.
    await until_ended(first)
    await until_ended(second)
    assert await text_of(second) == await text_of(first) == ANSWER
    await ask(first, "again and again")
    async with asyncio.timeout(30):
        while await second.locator(".turn").count() < 2 or not await seen(second):  # noqa: ASYNC110 - a screen gives no sign
            await asyncio.sleep(0.05)
    await second.bring_to_front()
    await second.keyboard.press("Escape")
    await until_ended(first, "Stopped")
    assert (await kept(first))[-1]["outcome"]["status"] == "cancelled"


async def test_a_shared_link_watches_live_and_can_only_be_read(pair, link, open_page):
    first = await open_page(link.url)
    await ask(first)
    await until_words(first, 5)
    stranger = await open_page(f"http://127.0.0.1:{pair[1].port}")
    response_id = (await kept(first))[-1]["responseId"]
    await stranger.goto(f"/#/r/{response_id}")
    await until_words(stranger, 10)
    assert await stranger.locator("#prompt, .asked").count() == 0
    await stranger.keyboard.press("Escape")
    await until_ended(first)
    await until_ended(stranger)
    assert (await seen(stranger)).split() == (await seen(first)).split() == ANSWER.split()
    await stranger.goto("/#/r/resp_00000000000000000000000000000000000")
    await until_ended(stranger, "Failed: ")


async def test_a_killed_worker_is_a_pause(pair, link, open_page, artifacts):
    page = await open_page(link.url)
    await ask(page)
    await until_words(page, 30)
    for up in pair:
        for name in [name for name in up.pids if name.startswith("worker")]:
            up.kill(name)
    await until_ended(page)
    assert await text_of(page) == ANSWER
    assert output_of(await logged(page)) == ANSWER
    await page.screenshot(path=artifacts / "desktop-worker-killed.png")
