"""Every state that people meet the page in: axe finds nothing in it, and its picture is kept to be looked at."""

from __future__ import annotations

import json

import pytest
from axe import faults
from chatting import ask, kept, until_ended, until_words
from playwright.async_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

NARROW = {"viewport": {"width": 320, "height": 568}, "is_mobile": True, "has_touch": True}
EYES = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "forced": {"forced_colors": "active"},
    "narrow": NARROW,
    "zoomed": {"viewport": {"width": 550, "height": 380}, "device_scale_factor": 2},
    "chinese": {"locale": "zh-CN"},
}
"""How a page may be looked at; at 200 % a window of 1100 by 760 has room for half of that."""


@pytest.fixture(params=EYES)
def looked(request, open_page, artifacts):
    """Open a page for some pair of eyes; the second function looks at a state of it."""

    async def opened(url: str) -> Page:
        return await open_page(url, reduced_motion="reduce", **EYES[request.param])

    async def look(page: Page, state: str) -> None:
        await page.screenshot(path=artifacts / f"state-{state}-{request.param}.png")
        assert await faults(page) == []
        widths = await page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
        assert widths[0] == widths[1], f"{state} scrolls sideways"

    return opened, look


async def test_at_rest_and_at_the_settings(link, looked):
    opened, look = looked
    page = await opened(link.url)
    await expect(page.locator("#model")).to_have_text("echo")
    await look(page, "empty")
    await page.locator(".head > .tool").click()
    await look(page, "settings")


async def test_with_tokens_an_editor_a_menu_and_a_notice(link, looked):
    opened, look = looked
    page = await opened(link.url)
    chosen = {"tokens": True, "language": "en", "parameters": {"max_output_tokens": 24}}
    await page.evaluate("(it) => localStorage.setItem('tokenwire.preferences', it)", json.dumps(chosen))
    await page.reload()
    await ask(page, "| a | table |\n|---|---|\n| of | tokens |\n\n")
    await until_ended(page)
    await look(page, "tokens")
    await page.locator(".turn").hover()
    await page.get_by_role("button", name="Edit").click()
    await look(page, "editor")
    await page.keyboard.press("Escape")
    if await page.get_by_role("button", name="Show conversations").is_visible():
        await page.get_by_role("button", name="Show conversations").click()
    await page.locator(".entry .tool").click()
    await look(page, "menu")
    await page.locator(".menu:popover-open").get_by_text("Delete").click()
    await look(page, "notice")


async def test_cut_off_and_waiting_and_failed_and_watched(link, looked):
    opened, look = looked
    page, other = await opened(link.url), await opened(link.url)
    await ask(page)
    await until_words(page, 5)
    await ask(other, "wait " * 8)
    await expect(other.locator(".id")).to_be_visible()
    await look(other, "queued")
    link.shut()
    link.cut()
    await expect(page.locator("#state")).to_have_attribute("data-tone", "lost")
    await look(page, "reconnecting")
    link.open()
    await page.bring_to_front()
    await page.keyboard.press("Escape")
    await expect(page.locator(".round.stop")).to_have_count(0)
    response_id = (await kept(page))[-1]["responseId"]
    await page.goto(f"/#/r/{response_id}")
    await expect(page.locator(".watching")).to_be_visible()
    await expect(page.locator(".answer")).not_to_be_empty()
    await look(page, "watched")
    await page.goto("/#/r/resp_00000000000000000000000000000000000")
    await expect(page.locator(".note")).to_be_visible()
    await look(page, "failed")
    await other.bring_to_front()
    await other.keyboard.press("Escape")
