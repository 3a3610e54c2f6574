"""The page in people's hands: what fingers, other tabs, other scripts and a bad day do to it."""

from __future__ import annotations

import asyncio
import json

import pytest
from chatting import (
    ANSWER,
    LIMIT,
    ask,
    kept,
    seen,
    text_of,
    until_ended,
    until_said,
    until_words,
)
from playwright.async_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

_COMPOSED = """([selector, key]) => document.querySelector(selector).dispatchEvent(
  new KeyboardEvent("keydown", { key, keyCode: 229, bubbles: true, cancelable: true })
)"""
"""A key as Safari tells one that ends the composing of a character: it does not say that it composes any more."""


async def _clicked_twice(page: Page, button: str, other: str) -> None:
    """Click a button twice, as one does a file: what stands there after the first click gets the second."""
    box = await page.get_by_role("button", name=button).bounding_box()
    assert box is not None
    at = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    await page.mouse.click(*at)
    await expect(page.get_by_role("button", name=other)).to_be_visible()
    await page.mouse.down(click_count=2)
    await page.mouse.up(click_count=2)


async def test_enter_that_takes_a_composed_word_over_does_not_send(link, open_page):
    page = await open_page(link.url)
    devtools = await page.context.new_cdp_session(page)
    await page.locator("#prompt").focus()
    composed = {"text": "ni hao", "selectionStart": 6, "selectionEnd": 6}
    await devtools.send("Input.imeSetComposition", composed)
    await page.evaluate(_COMPOSED, ["#prompt", "Enter"])
    await devtools.send("Input.insertText", {"text": "你好"})
    await expect(page.locator("#prompt")).to_have_value("你好")
    await expect(page.locator(".turn")).to_have_count(0)
    await page.keyboard.press("Enter")
    await expect(page.locator(".prompt")).to_have_text("你好")


async def test_escape_that_drops_a_composed_word_does_not_stop_the_answer(link, open_page):
    page = await open_page(link.url)
    await ask(page)
    await until_words(page, 5)
    await page.evaluate(_COMPOSED, ["#prompt", "Escape"])
    await until_ended(page, LIMIT)
    assert await text_of(page) == ANSWER


async def test_enter_that_takes_a_composed_word_over_does_not_end_a_name(link, open_page):
    page = await open_page(link.url)
    await ask(page, "name me")
    await page.locator(".entry .tool").click()
    await page.locator(".menu:popover-open").get_by_text("Rename").click()
    await page.evaluate(_COMPOSED, ["input.name", "Enter"])
    await expect(page.locator("input.name")).to_be_focused()


async def test_a_double_click_on_send_does_not_stop_what_it_asked(link, open_page):
    page = await open_page(link.url)
    await page.locator("#prompt").fill(ANSWER)
    await _clicked_twice(page, "Send", "Stop")
    await until_ended(page, LIMIT)
    assert (await kept(page))[-1]["outcome"]["status"] == "incomplete"


async def test_a_double_click_on_stop_does_not_send_what_is_being_written(link, open_page):
    page = await open_page(link.url)
    await ask(page)
    await until_words(page, 3)
    await page.locator("#prompt").fill("not yet whole")
    await _clicked_twice(page, "Stop", "Send")
    await until_ended(page, "Stopped")
    await expect(page.locator("#prompt")).to_have_value("not yet whole")
    await expect(page.locator(".turn")).to_have_count(1)


async def test_who_scrolls_up_a_little_while_it_types_is_not_pulled_down(link, open_page):
    page = await open_page(link.url, viewport={"width": 700, "height": 420})
    await ask(page, "word\n\n" * 8)
    scroller = page.locator("#scroller")
    await page.wait_for_function("() => scroller.scrollHeight - scroller.clientHeight > 300")
    await scroller.hover()
    # As a finger on a pad does it: less at a time than what counts as near the end.
    await page.mouse.wheel(0, -24)
    await expect(page.get_by_role("button", name="To the end")).to_be_visible()
    held, size = await scroller.evaluate("(box) => [box.scrollTop, box.scrollHeight]")
    await page.wait_for_function("(size) => scroller.scrollHeight > size + 100", arg=size)
    assert await scroller.evaluate("(box) => box.scrollTop") == held
    await page.get_by_role("button", name="To the end").click()
    await until_ended(page)
    distance = "(box) => box.scrollHeight - box.scrollTop - box.clientHeight"
    assert await scroller.evaluate(distance) < 2


async def test_a_selection_stays_while_it_types(link, open_page):
    page = await open_page(link.url)
    await ask(page, "first words\n\nsecond words " * 3)
    await page.wait_for_function("() => document.querySelectorAll('.answer p').length > 2")
    selected = await page.evaluate(
        """() => {
          const [first, last] = [document.querySelector(".answer p"), document.querySelector(".answer p:last-child")];
          getSelection().setBaseAndExtent(first.firstChild, 6, last.firstChild, 4);
          return getSelection().toString();
        }"""
    )
    assert selected.startswith("words")
    size = len(await seen(page))
    await page.wait_for_function(
        "(size) => document.querySelector('.answer').textContent.length > size + 60", arg=size
    )
    assert await page.evaluate("() => getSelection().toString()") == selected
    await page.keyboard.press("Escape")


async def test_text_from_right_to_left_runs_so_and_code_does_not(link, open_page, artifacts):
    page = await open_page(link.url)
    await ask(page, "مرحبا بالعالم\n\n- واحد\n\nplain words\n\n```js\nlet x = 1;\n```\n\n")
    await until_ended(page)
    await page.screenshot(path=artifacts / "desktop-right-to-left.png")
    sides = await page.evaluate(
        """() => {
          const side = (element) => {
            const range = document.createRange();
            range.selectNodeContents(element);
            const [text, box] = [range.getBoundingClientRect(), document.querySelector(".answer")
              .getBoundingClientRect()];
            return text.left - box.left < box.right - text.right ? "left" : "right";
          };
          const [first, plain] = document.querySelectorAll(".answer > p");
          return [first, document.querySelector(".answer li"), plain, document.querySelector(".answer code")]
            .map(side);
        }"""
    )
    assert sides == ["right", "right", "left", "left"]
    assert await page.locator(".prompt").evaluate("(box) => getComputedStyle(box).direction") == "rtl"


async def test_two_tabs_that_ask_at_once_lose_neither_question(link, open_page):
    one = await open_page(link.url)
    await ask(one, "to begin with")
    await one.keyboard.press("Escape")
    await until_ended(one, "Stopped")
    other = await one.context.new_page()
    await other.goto(one.url)
    await expect(other.locator(".turn")).to_have_count(1)
    for page, words in ((one, "from the one"), (other, "from the other")):
        await page.locator("#prompt").fill(words)
    send = "() => document.querySelector('form.composer').requestSubmit()"
    await asyncio.gather(one.evaluate(send), other.evaluate(send))
    for page in (one, other):
        await page.bring_to_front()
        await until_ended(page)
    said = [json.loads(await page.evaluate(_WRITTEN)) for page in (one, other)]
    assert said[0] == said[1]
    turns = {turn["prompt"]: turn for turn in said[0]["turns"]}
    assert set(turns) == {"to begin with", "from the one", "from the other"}
    for words in ("from the one", "from the other"):
        assert turns[words]["text"].startswith(f"{words} {words}")
        assert turns[words]["outcome"]["status"] == "incomplete"


_WRITTEN = "() => localStorage.getItem(`tokenwire.conversation.${location.hash.slice(4)}`)"


@pytest.mark.parametrize("fault", ["full", "forbidden"])
async def test_without_room_or_leave_to_keep_anything_it_says_so_and_answers(link, open_page, fault):
    page = await open_page(link.url)
    await page.context.add_init_script(
        {
            "full": """Storage.prototype.setItem = () => {
              throw new DOMException("full", "QuotaExceededError");
            };""",
            "forbidden": """for (const name of ["localStorage", "sessionStorage"])
              Object.defineProperty(window, name, { get() { throw new DOMException("no", "SecurityError"); } });""",
        }[fault]
    )
    await page.reload()
    await ask(page)
    await expect(page.locator(".notice")).to_contain_text("stays in this tab only")
    await until_ended(page)
    assert "".join((await seen(page)).split()) == "".join(ANSWER.split())


async def test_a_copy_that_the_browser_refuses_is_told(link, open_page):
    page = await open_page(link.url)
    await page.evaluate(
        """() => {
          navigator.clipboard.writeText = () => Promise.reject(new DOMException("no", "NotAllowedError"));
          document.execCommand = () => false;
        }"""
    )
    await ask(page, "copy me")
    await page.locator(".turn").hover()
    await page.get_by_role("button", name="Copy message").click()
    await expect(page.locator(".notice")).to_contain_text("did not let the page copy")


async def test_a_page_loaded_without_a_server_learns_the_model_when_there_is_one(link, open_page):
    page = await open_page(link.url)
    await page.route("**/v1/models", lambda route: route.abort())
    await page.reload()
    await expect(page.locator("#model")).to_have_text("No model yet")
    await page.unroute("**/v1/models")
    await expect(page.locator("#model")).to_have_text("echo")


async def test_a_chosen_model_that_is_gone_does_not_fail_every_question(link, open_page):
    page = await open_page(link.url)
    await page.evaluate("localStorage.setItem('tokenwire.preferences', '{\"model\": \"gone\"}')")
    await page.reload()
    await expect(page.locator("#model")).to_have_text("echo")
    await ask(page)
    await until_ended(page)
    assert await text_of(page) == ANSWER


async def test_a_page_that_comes_back_from_the_browsers_cache_knows_what_others_did(link, open_page):
    page = await open_page(link.url)
    await ask(page, "here first")
    await page.keyboard.press("Escape")
    await until_ended(page, "Stopped")
    # Written past it, as by a tab that it could not hear: a tab's own writes are no news to it.
    await page.evaluate(
        """() => {
          const [key] = Object.keys(localStorage).filter((name) => name.includes("conversation"));
          const other = { ...JSON.parse(localStorage[key]), id: "other", title: "from elsewhere", changedAt: 1 };
          localStorage["tokenwire.conversation.other"] = JSON.stringify(other);
          dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }));
        }"""
    )
    await expect(page.locator(".entry .title")).to_have_text(["here first", "from elsewhere"])


async def test_a_huge_prompt_is_taken_or_refused_in_words(link, open_page):
    page = await open_page(link.url)
    await page.locator("#prompt").fill("long " * 300_000)
    widths = "() => [document.documentElement.scrollWidth, innerWidth]"
    assert await page.evaluate(widths) == [1100, 1100]
    await page.keyboard.press("Enter")
    await until_ended(page, "Failed: ")
    await expect(page.locator(".note")).to_contain_text("larger than this server takes")
    await ask(page, "short")
    await until_ended(page)


async def test_what_stands_there_at_first_is_read_from_its_beginning(link, open_page):
    page = await open_page(link.url, viewport={"width": 320, "height": 400})
    await expect(page.locator("#model")).to_have_text("echo")
    assert await page.locator("#scroller").evaluate("(box) => box.scrollTop") == 0
    await expect(page.locator("#welcome h2")).to_be_in_viewport()


async def test_undo_is_within_reach_however_long_the_title(link, open_page):
    page = await open_page(link.url, viewport={"width": 390, "height": 700})
    await ask(page, "x" * 80)
    await page.get_by_role("button", name="Show conversations").click()
    await page.locator(".entry .tool").click()
    await page.locator(".menu:popover-open").get_by_text("Delete").click()
    await expect(page.get_by_role("button", name="Undo")).to_be_in_viewport(ratio=1)
    await page.get_by_role("button", name="Undo").click()
    await expect(page.locator(".prompt")).to_have_text("x" * 80)


async def test_paper_shows_the_whole_conversation(link, open_page, artifacts):
    page = await open_page(link.url)
    await ask(page, "one line\n\n" * 40)
    await until_ended(page)
    await page.emulate_media(media="print")
    await page.screenshot(path=artifacts / "paper.png", full_page=True)
    whole = await page.evaluate(
        """() => {
          const clipped = [...document.querySelectorAll(".scroller, .prompt, .answer")]
            .filter((box) => box.scrollHeight > box.clientHeight + 1);
          return [clipped.length, document.documentElement.scrollHeight > 2 * innerHeight];
        }"""
    )
    assert whole == [0, True]
    await expect(page.locator("#prompt")).to_be_hidden()


async def test_words_in_a_table_stay_whole_on_a_phone(link, open_page):
    page = await open_page(link.url, viewport={"width": 320, "height": 600})
    await ask(page, "| colour | wavelength | visibility |\n|---|---|---|\n| red | 700 | most |\n\n")
    await until_ended(page)
    heads = page.locator(".answer th")
    lines = await heads.evaluate_all(
        """(all) => all.map((head) => {
          const range = document.createRange();
          range.selectNodeContents(head);
          return range.getClientRects().length;
        })"""
    )
    assert set(lines) == {1}


async def test_a_question_asked_while_the_network_is_away_waits_and_says_so(link, open_page):
    page = await open_page(link.url)
    await expect(page.locator("#model")).to_have_text("echo")
    await page.context.set_offline(True)
    await ask(page)
    await until_said(page, "No connection yet")
    await page.context.set_offline(False)
    await until_ended(page)
    assert await text_of(page) == ANSWER


async def test_tokens_are_read_again_after_a_reload_or_it_says_why_not(link, open_page, artifacts):
    page = await open_page(link.url)
    chosen = {"tokens": True, "parameters": {"max_output_tokens": 9}}
    await page.evaluate("(it) => localStorage.setItem('tokenwire.preferences', it)", json.dumps(chosen))
    await page.reload()
    await ask(page, "piece by piece")
    await until_ended(page)
    before = await page.locator(".pieces span").evaluate_all(_PIECES)
    assert len(before) == 9
    assert all(level is not None and percent for _, level, percent in before)
    await page.reload()
    await expect(page.locator(".pieces span")).to_have_count(9)
    assert await page.locator(".pieces span").evaluate_all(_PIECES) == before
    await page.screenshot(path=artifacts / "desktop-tokens-again.png")
    # An answer whose log is gone.
    await page.evaluate(
        """() => {
          const [key] = Object.keys(localStorage).filter((name) => name.includes("conversation"));
          const other = "resp_00000000000000000000000000000000000";
          localStorage[key] = localStorage[key].replace(/resp_[0-9a-f]+/, other);
        }"""
    )
    await page.reload()
    await expect(page.locator(".legend")).to_have_text(
        "The tokens of this answer cannot be read again. There is no such response, or it has expired."
    )
    assert (await seen(page)).split() == ["piece", "by", "piece"] * 3


_PIECES = "(all) => all.map((each) => [each.textContent, each.dataset.likely ?? null, each.title])"


async def test_code_and_answers_are_copied_as_they_were_written(link, open_page):
    page = await open_page(link.url, permissions=["clipboard-read", "clipboard-write"])
    await ask(page, "Look:\n\n```python\nprint('<b>')  # twice\n```\n\nThat is all.")
    await until_ended(page)
    await page.locator(".code .copy").first.click()
    await expect(page.locator(".notice")).to_contain_text("Copied")
    assert await page.evaluate("() => navigator.clipboard.readText()") == "print('<b>')  # twice\n"
    await page.get_by_role("button", name="Dismiss").click()
    await page.get_by_role("button", name="Copy answer").click()
    await expect(page.locator(".notice")).to_contain_text("Copied")
    assert await page.evaluate("() => navigator.clipboard.readText()") == (await kept(page))[-1]["text"]


async def test_colours_that_could_not_be_had_come_with_the_next_code(link, open_page):
    page = await open_page(link.url)
    await page.route("**/highlight-*.js", lambda route: route.abort())
    async with page.expect_event("requestfailed", lambda request: "/highlight-" in request.url):
        await ask(page, "```python\nreturn 1\n```\n\n")
    await until_ended(page)
    assert await page.locator(".hljs-keyword").count() == 0
    await page.unroute("**/highlight-*.js")
    await ask(page, "```python\nreturn 2\n```\n\n")
    await expect(page.locator(".hljs-keyword").first).to_be_visible()
    await expect(page.locator(".turn").first.locator(".hljs-keyword").first).to_be_visible()
