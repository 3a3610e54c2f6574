"""The page in a real browser, on the real stack: gateway, Valkey, worker."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
from pathlib import Path

import pytest
from chatting import (
    ANSWER,
    LIMIT,
    PROMPT,
    TOKENS,
    answer,
    ask,
    kept,
    logged,
    output_of,
    text_of,
    until_ended,
    until_said,
    until_words,
    witness,
)
from playwright.async_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

PHONE = {
    "viewport": {"width": 390, "height": 780},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
ENDED = re.compile("^(Done|Ended early)")  # a real model may come to an end before the limit
PICTURE = Path(__file__).parents[2] / "docs/images/page.png"


async def test_an_answer_is_typed_while_it_is_computed(link, open_page, artifacts):
    page = await open_page(link.url)
    await expect(page.locator("#model")).to_have_text("echo")
    await ask(page)
    await until_words(page, 40)
    await until_said(page, "Generating")
    await page.screenshot(path=artifacts / "desktop-generating.png")
    await until_ended(page)

    assert await text_of(page) == ANSWER
    assert output_of(await logged(page)) == ANSWER
    paints = await witness(page, "paints")
    frames = [paint["frame"] for paint in paints]
    sizes = [paint["size"] for paint in paints]
    # 120 tokens in four seconds of sixty frames each: a page that waits and shows all at once paints once.
    assert len(paints) >= TOKENS / 8
    assert max(after - before for before, after in itertools.pairwise(sizes)) < len(ANSWER) / 2
    assert len(set(frames)) == len(frames), "painted twice in one frame"
    said = [line for line in await witness(page, "said") if line != "Queued"]
    assert said == ["Ready", "Connecting…", "Generating", LIMIT]
    facts = " · ".join(await page.locator(".facts li").all_inner_texts())
    assert re.fullmatch(r"TTFT [\d.]+ m?s · [\d.]+ tokens/s · 120 tokens", facts), facts
    await page.screenshot(path=artifacts / "desktop-ended.png")


async def test_painting_an_answer_writes_nothing_on_the_root_of_the_page(link, open_page):
    page = await open_page(link.url)
    await expect(page.locator("#model")).to_have_text("echo")
    # A language that is set again, even the same one, has every element of the page styled anew.
    await page.evaluate("""() => {
      witness.rooted = [];
      const write = (records) => witness.rooted.push(...records.map(({ attributeName }) => attributeName));
      new MutationObserver(write).observe(document.documentElement, { attributes: true });
    }""")
    await ask(page)
    await until_ended(page)

    assert len(await witness(page, "paints")) >= TOKENS / 12
    assert await witness(page, "rooted") == []


async def test_escape_stops_the_answer_for_good(link, open_page):
    page = await open_page(link.url)
    await ask(page)
    await until_words(page, 10)
    await page.keyboard.press("Escape")
    await until_ended(page, "Stopped")

    text = await text_of(page)
    response = await logged(page)
    assert response["status"] == "cancelled"
    assert output_of(response) == text
    assert ANSWER.startswith(text)
    assert len(text) < len(ANSWER)


async def test_the_stop_button_stops_and_gives_its_place_back_to_send(link, open_page):
    page = await open_page(link.url)
    await page.get_by_role("textbox").fill(ANSWER)
    await page.get_by_role("button", name="Send").click()
    await until_words(page, 3)
    await page.get_by_role("button", name="Stop").click()
    await until_ended(page, "Stopped")
    await expect(page.get_by_role("button", name="Send")).to_be_visible()
    await expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    await expect(page.get_by_role("textbox")).to_be_focused()


async def test_a_reload_in_mid_answer_continues_to_the_same_text(link, open_page):
    page = await open_page(link.url)
    await ask(page)
    await until_words(page, 15)
    await page.reload()
    await until_said(page, "Generating · Continued after the reload, nothing lost")
    await until_ended(page)

    assert await text_of(page) == ANSWER
    assert output_of(await logged(page)) == ANSWER
    # What was replayed came in one piece, and was painted so: never more than one paint in a frame.
    frames = [paint["frame"] for paint in await witness(page, "paints")]
    assert len(set(frames)) == len(frames)


async def test_a_conversation_outlives_a_reload_and_is_sent_along(link, open_page):
    page = await open_page(link.url)
    sent: list[dict[str, object]] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(json.loads(frame))))
    await page.get_by_role("textbox").fill("one")
    await page.keyboard.press("Shift+Enter")
    await page.keyboard.type("two")
    await page.keyboard.press("Enter")
    await until_ended(page)
    first = await text_of(page)
    assert first.startswith("one\ntwo one\ntwo ")

    await page.reload()
    await expect(page.locator(".answer")).to_have_count(1)
    assert await text_of(page) == first
    await ask(page, "three")
    await until_ended(page)
    assert await page.locator(".prompt").all_text_contents() == ["one\ntwo", "three"]
    assert sent[-1]["input"] == [
        {"role": "user", "content": "one\ntwo"},
        {"role": "assistant", "content": first},
        {"role": "user", "content": "three"},
    ]
    await page.locator("#fresh").click()
    await expect(page.locator(".turn")).to_have_count(0)
    await page.reload()
    await expect(page.locator("#welcome")).to_be_visible()


async def test_a_cut_socket_comes_back_and_nothing_is_lost(link, open_page, artifacts):
    page = await open_page(link.url)
    await ask(page)
    await until_words(page, 20)
    link.shut()
    assert link.cut() >= 1
    await until_said(page, "Connection lost. Reconnecting…")
    await page.screenshot(path=artifacts / "desktop-reconnecting.png")
    link.open()
    await until_said(page, r"^Generating · Resumed at token \d+, nothing lost$")
    await page.screenshot(path=artifacts / "desktop-resumed.png")
    await until_ended(page, f"{LIMIT} · reconnected once, nothing lost")
    assert await text_of(page) == ANSWER
    assert output_of(await logged(page)) == ANSWER
    await expect(page.locator(".facts")).to_contain_text("reconnected once")


async def test_a_socket_cut_again_and_again_gives_the_same_text(link, open_page):
    page = await open_page(link.url)
    await ask(page)
    for count in (5, 20, 35, 50, 65):
        await until_words(page, count)
        await link.carrying()
        link.cut()
    await until_ended(page)
    assert await text_of(page) == ANSWER


async def test_offline_and_back_nothing_is_lost(link, open_page):
    page = await open_page(link.url)
    await ask(page)
    await until_words(page, 10)
    await page.context.set_offline(True)
    await page.evaluate("() => new Promise((done) => setTimeout(done, 500))")
    await page.context.set_offline(False)
    await until_said(page, "nothing lost")
    await until_ended(page)
    assert await text_of(page) == ANSWER


async def test_a_question_asked_without_a_server_waits_for_it(link, open_page):
    page = await open_page(link.url)
    link.shut()
    link.cut()
    await ask(page)
    await until_said(page, "No connection yet. Trying again…")
    link.open()
    await until_ended(page)
    assert await text_of(page) == ANSWER


async def test_who_waits_for_a_slot_is_told_so(link, open_page):
    first, second = await open_page(link.url), await open_page(link.url)
    await ask(first)
    await until_words(first, 1)
    await ask(second)
    await until_said(second, "^Queued")
    await until_ended(second)
    said = await witness(second, "said")
    assert [line.split(",")[0] for line in said[-3:]] == [
        "Queued",
        "Generating",
        LIMIT,
    ]
    assert await text_of(second) == ANSWER


async def test_a_message_that_is_too_large_is_refused_with_a_sentence(link, open_page, artifacts):
    page = await open_page(link.url)
    await ask(page, "large " * 20_000)
    await until_ended(page, "Failed: ")
    await expect(page.locator(".note")).to_have_text(re.compile(r"^Failed: .+\.$"))
    await page.screenshot(path=artifacts / "desktop-failed.png")
    await page.locator("#fresh").click()
    await ask(page)
    await until_ended(page)
    assert await text_of(page) == ANSWER


async def test_what_a_model_writes_stays_text(link, open_page):
    page = await open_page(link.url)
    hostile = (
        "<script>alert(1)</script> <img src=//example.invalid/beacon onerror=alert(2)> "
        "<iframe srcdoc='<script>alert(3)</script>'></iframe> [x](javascript:alert(4)) <b onclick=alert(5)>b</b>"
    )
    await ask(page, hostile)
    await until_ended(page)
    assert (await text_of(page)).startswith(hostile)
    assert await answer(page).locator("*:not(p)").count() == 0
    assert await page.locator(".prompt").last.locator("*").count() == 0


async def test_an_old_session_is_changed_without_a_word(link, open_page):
    page = await open_page(link.url)
    await ask(page)
    async with asyncio.timeout(30):
        # The stack's sessions last one second: the socket is let go at the end of the turn.
        async with page.expect_event("websocket"):
            await until_ended(page)
            await ask(page)
    await until_words(page, 5)
    await page.keyboard.press("Escape")
    await until_ended(page, "Stopped")
    assert not [line for line in await witness(page, "said") if "onnect" in line and line != "Connecting…"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_phone_shows_it_without_scrolling_sideways(link, open_page, artifacts, scheme):
    page = await open_page(link.url, color_scheme=scheme, **PHONE)
    await page.screenshot(path=artifacts / f"phone-{scheme}-empty.png")
    await ask(page, f"{PROMPT} {'x' * 200}")
    await until_words(page, 30)
    await page.screenshot(path=artifacts / f"phone-{scheme}-generating.png")
    widths = await page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
    assert widths == [390, 390]
    await page.keyboard.press("Escape")
    await until_ended(page, "Stopped")


async def test_dark_is_dark(link, open_page, artifacts):
    page = await open_page(link.url, color_scheme="dark")
    await ask(page)
    await until_words(page, 30)
    await page.screenshot(path=artifacts / "desktop-dark.png")
    colour = await page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert max(int(part) for part in re.findall(r"\d+", colour)) < 64
    await page.keyboard.press("Escape")
    await until_ended(page, "Stopped")


@pytest.mark.model
async def test_the_real_model_answers(model_up, open_page, artifacts):
    page = await open_page(model_up.url, viewport={"width": 1120, "height": 720}, device_scale_factor=1.5)
    # Greedy: the same words each time, and enough of them.
    await page.evaluate(
        "localStorage.setItem('tokenwire.preferences', JSON.stringify({ parameters: { temperature: 0 } }))"
    )
    await page.reload()
    await expect(page.locator("#model")).to_have_text("SmolLM2-135M-Instruct")
    await ask(page, "What is the capital of France?")
    await expect(page.locator("#state .line")).to_have_text(ENDED, timeout=120_000)
    first = (await kept(page))[-1]["text"]
    assert output_of(await logged(page)) == first != ""
    before = len(await witness(page, "paints"))

    await ask(page, "Write three sentences about rivers.")
    await expect(page.locator(".facts").nth(1)).to_have_text(re.compile(r"[3-7]\d tokens"), timeout=120_000)
    await page.screenshot(path=artifacts / "model-generating.png")
    if os.environ.get("REFRESH_PICTURE"):
        await page.screenshot(path=PICTURE)
    await expect(page.locator("#state .line")).to_have_text(ENDED, timeout=120_000)
    assert output_of(await logged(page)) == (await kept(page))[-1]["text"]
    # Typed, not shown at once: the model needs tens of milliseconds a token, a frame takes sixteen.
    tokens = (await kept(page))[-1]["tokens"]
    assert len(await witness(page, "paints")) - before >= tokens / 3
