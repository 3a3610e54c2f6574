"""The page for everybody: by keyboard, by ear, in two languages, in light and dark; and what hostile text does to it."""

from __future__ import annotations

import json
import re

import pytest
from axe import faults
from chatting import (
    KEY,
    LIMIT,
    answer,
    ask,
    kept,
    seen,
    text_of,
    until_ended,
    until_said,
    until_words,
    witness,
)
from playwright.async_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

RICH = """# A rainbow

Sunlight enters a **drop** and *bends*; see [this](https://example.org/bow) and `n = 1.33`.

1. It splits
2. It leaves
   - twice

```python
def bow(angle: float) -> str:
    return f"at {angle}"  # degrees
```

| colour | nm |
|:--|--:|
| red | 700 |

> A circle, by half.

"""
HOSTILE = """<script>window.hacked = 1</script> <img src="//example.invalid/a.png" onerror="window.hacked = 2">

<svg onload="window.hacked = 3"></svg> <b onclick="window.hacked = 4" style="position:fixed">b</b>

[one](javascript:window.hacked=5) <javascript:window.hacked=6> [two](data:text/html,<script>window.hacked=7</script>)

![beacon](https://example.invalid/b.png) ![c](//example.invalid/c.png) [r]: https://example.invalid/d

<iframe srcdoc="<script>parent.hacked = 8</script>"></iframe> <link rel=stylesheet href=//example.invalid/e.css>

```html
</code></pre><script>window.hacked = 9</script>
```

"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_no_fault_that_is_more_than_minor(link, open_page, artifacts, scheme):
    page = await open_page(link.url, color_scheme=scheme, reduced_motion="reduce")
    assert await faults(page) == []
    await ask(page, RICH)
    await until_said(page, "Generating")
    await expect(page.locator(".hljs-keyword").first).to_be_visible()
    assert await faults(page) == []
    await until_ended(page)
    await page.screenshot(path=artifacts / f"desktop-{scheme}-rich.png")
    assert await faults(page) == []
    await page.get_by_role("button", name="Parameters").click()
    assert await faults(page) == []
    await page.screenshot(path=artifacts / f"desktop-{scheme}-parameters.png")
    await page.keyboard.press("Escape")
    await page.locator(".entry .tool").focus()
    await page.keyboard.press("Enter")
    assert await faults(page) == []
    await page.screenshot(path=artifacts / f"desktop-{scheme}-menu.png")


async def focused(page: Page) -> str:
    """Name what has the focus."""
    return await page.evaluate(
        "() => document.activeElement.getAttribute('aria-label') || document.activeElement.textContent.trim() "
        "|| document.activeElement.id"
    )


async def tab_to(page: Page, name: str, key: str = "Tab") -> None:
    """Press Tab until something has the focus, and see that the focus can be seen."""
    for _ in range(40):
        await page.keyboard.press(key)
        if re.search(name, await focused(page)):
            ring = await page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
            assert ring != "none"
            return
    raise AssertionError(f"Tab does not lead to {name}")


async def test_everything_can_be_done_by_keyboard(link, open_page):
    page = await open_page(link.url)
    await page.keyboard.type("first question")
    await page.keyboard.press("Enter")
    await until_words_of(page, "first")
    await page.keyboard.press("Escape")
    await until_ended(page, "Stopped")
    # Ask again, then go back to the first version.
    await tab_to(page, "^Ask again$", "Shift+Tab")
    await page.keyboard.press("Enter")
    await until_words_of(page, "first question first")
    await page.keyboard.press("Escape")
    await until_ended(page, "Stopped")
    await expect(page.locator(".versions")).to_have_text("2 / 2")
    await tab_to(page, "^Previous version$", "Shift+Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator(".versions")).to_have_text("1 / 2")
    # Rewrite the question.
    await tab_to(page, "^Edit$", "Shift+Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator(".editor textarea")).to_be_focused()
    await page.keyboard.press("Control+A")
    await page.keyboard.type("second question")
    await page.keyboard.press("Enter")
    await until_words_of(page, "second question second")
    await page.keyboard.press("Escape")
    await until_ended(page, "Stopped")
    await expect(page.locator(".versions")).to_have_text("3 / 3")
    # Rename it, and open the parameters and close them again.
    await tab_to(page, "^More about", "Shift+Tab")
    await page.keyboard.press("Enter")
    await tab_to(page, "^Rename$")
    await page.keyboard.press("Enter")
    await expect(page.locator("input.name")).to_be_focused()
    await page.keyboard.type("By hand")
    await page.keyboard.press("Enter")
    await expect(page.locator("h1")).to_have_text("By hand")
    await tab_to(page, "^Parameters$")
    await page.keyboard.press("Enter")
    await expect(page.locator("dialog.sheet")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.locator("dialog.sheet")).to_be_hidden()
    assert await focused(page) == "Parameters"


async def test_what_a_fact_means_is_there_without_a_mouse(link, open_page, artifacts):
    page = await open_page(link.url, viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    await ask(page, "count me")
    await until_ended(page)
    used = page.locator(".facts li", has_text="120 tokens")
    assert await used.inner_text() == "120 tokens"
    await used.locator("summary").tap()
    await expect(used.locator(".hint")).to_have_text(re.compile(r"^\d+ in, 120 out$"))
    await expect(used.locator(".hint")).to_be_in_viewport()
    await page.screenshot(path=artifacts / "phone-usage.png")
    assert await faults(page) == []
    await page.keyboard.press("Enter")
    await expect(used.locator(".hint")).to_be_hidden()
    await tab_to(page, "^TTFT", "Shift+Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator(".hint").first).to_have_text("Time to the first token, from asking to seeing")


async def until_words_of(page: Page, text: str) -> None:
    await expect(answer(page)).to_contain_text(text, timeout=30_000)


async def test_a_screen_reader_hears_states_and_the_answer_never_a_token(link, open_page):
    page = await open_page(link.url)
    await page.evaluate(
        """() => {
          window.heard = [];
          const spoken = document.getElementById("spoken");
          new MutationObserver(() => heard.push(spoken.textContent))
            .observe(spoken, { characterData: true, childList: true, subtree: true });
        }"""
    )
    await ask(page, "one two three")
    await until_ended(page)
    heard = [line for line in await page.evaluate("() => window.heard") if line and line[:6] != "Queued"]
    text = await text_of(page)
    assert heard == ["Connecting…", "Generating", f"{LIMIT}. Answer: {text}"]


async def test_two_languages_by_the_browser_and_by_choice(link, open_page, artifacts):
    page = await open_page(link.url, locale="zh-CN", color_scheme="dark")
    await expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    await page.screenshot(path=artifacts / "desktop-dark-chinese.png")
    await page.locator("#prompt").fill("彩虹是怎样形成的")
    await page.get_by_role("button", name="发送").click()
    await until_said(page, "正在生成")
    await page.screenshot(path=artifacts / "desktop-dark-chinese-generating.png")
    await page.locator("#language").select_option("en")
    await until_said(page, "Generating")
    await expect(page.get_by_role("button", name="New chat")).to_be_visible()
    await page.locator("#theme").select_option("light")
    await page.reload()
    await expect(page.locator("html")).to_have_attribute("lang", "en")
    assert (
        await page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(252, 250, 246)"
    )
    await until_ended(page, "")


async def test_hostile_text_is_inert_and_asks_for_nothing(link, open_page):
    page = await open_page(link.url)
    await ask(page, HOSTILE)
    await until_ended(page)
    text = await seen(page)
    assert "<script>window.hacked = 1</script>" in text
    assert await page.evaluate("() => window.hacked") is None
    tags = await answer(page).evaluate(
        "(box) => [...new Set([...box.querySelectorAll('*')].map((e) => e.localName))]"
    )
    assert set(tags) <= {"p", "a", "span", "div", "pre", "code", "button", "br"}
    links = (
        await answer(page).locator("a").evaluate_all("(all) => all.map((a) => [a.protocol, a.rel, a.target])")
    )
    assert links
    assert {tuple(each) for each in links} == {("https:", "noopener noreferrer nofollow", "_blank")}
    attributes = await answer(page).evaluate(
        "(box) => [...new Set([...box.querySelectorAll('*')].flatMap((e) => e.getAttributeNames()))].sort()"
    )
    assert set(attributes) <= {"class", "href", "rel", "target", "tabindex", "type"}
    # Nothing was asked for elsewhere: `open_page` complains of any request that leaves.


async def test_a_closed_block_is_painted_once_and_a_paint_is_no_longer_than_the_open_one(link, open_page):
    page = await open_page(link.url)
    paragraph = "word " * 9 + "end.\n\n"
    await ask(page, paragraph)
    await until_ended(page)
    paints = await witness(page, "paints")
    frames = [paint["frame"] for paint in paints]
    text = await text_of(page)
    assert len(set(frames)) == len(frames)
    assert len(paints) >= 3  # a busy machine paints seldom
    # A paint may close some blocks that came at once; what closed before is not touched again.
    assert sum(paint["touched"] for paint in paints) <= 2 * len(text)
    sizes = [0, *(paint["size"] for paint in paints)]
    for before, paint in zip(sizes, paints, strict=False):
        assert paint["touched"] <= paint["size"] - before + 2 * len(paragraph), paint


async def test_who_waits_sees_the_place_and_when_it_begins(link, open_page, artifacts):
    pages = [await open_page(link.url) for _ in range(3)]
    for page in pages:
        await ask(page, "wait " * 8)
    await until_said(pages[2], r"^Queued, (next in line|\d+ before this one) · about \d+ s$")
    await pages[2].screenshot(path=artifacts / "desktop-queued.png")
    for page in pages:
        await page.bring_to_front()
        await page.keyboard.press("Escape")
        await until_ended(page, "Stopped")


async def test_conversations_are_kept_named_exported_and_deleted(link, open_page, tmp_path):
    page = await open_page(link.url, accept_downloads=True)
    for prompt in ("alpha beta", "gamma delta"):
        await page.locator("#fresh").click()
        await ask(page, prompt)
        await until_words_of(page, prompt)
        await page.keyboard.press("Escape")
        await until_ended(page, "Stopped")
    await expect(page.locator(".entry .title")).to_have_text(["gamma delta", "alpha beta"])
    await page.locator(".entry a").nth(1).click()
    await expect(page.locator(".prompt")).to_have_text(["alpha beta"])

    async def choose(entry: int, name: str) -> None:
        await page.locator(".entry").nth(entry).hover()
        await page.locator(".entry .tool").nth(entry).click()
        await page.locator(".menu:popover-open").get_by_text(name).click()

    for name, ending in (("Export as Markdown", ".md"), ("Export as JSON", ".json")):
        async with page.expect_download() as started:
            await choose(1, name)
        download = await started.value
        assert download.suggested_filename.endswith(f"-alpha-beta{ending}")
        await download.save_as(tmp_path / ending)
    assert "> alpha beta\n\nalpha beta" in (tmp_path / ".md").read_text()
    assert json.loads((tmp_path / ".json").read_text())["title"] == "alpha beta"
    await choose(1, "Delete")
    await expect(page.locator(".entry .title")).to_have_text(["gamma delta"])
    await page.get_by_role("button", name="Undo").click()
    await expect(page.locator(".prompt")).to_have_text(["alpha beta"])
    await page.reload()
    await expect(page.locator(".entry .title")).to_have_text(["gamma delta", "alpha beta"])


async def test_parameters_are_asked_for_and_kept(link, open_page):
    page = await open_page(link.url)
    sent: list[dict[str, object]] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(json.loads(frame))))
    await page.get_by_role("button", name="Parameters").click()
    for name, value in (("temperature", "0"), ("top_p", ""), ("max_output_tokens", "7"), ("seed", "42")):
        await page.locator(f"input[name={name}]").fill(value)
    await page.locator("textarea[name=instructions]").fill("Be brief.")
    await page.locator("input[name=tokens]").check()
    await page.get_by_role("button", name="Close").click()
    await page.reload()
    await ask(page, "count me")
    await until_ended(page)
    asked = sent[-1]
    chosen = ("temperature", "max_output_tokens", "seed", "instructions", "include")
    assert [asked.get(name) for name in chosen] == [0, 7, 42, "Be brief.", ["message.output_text.logprobs"]]
    assert "top_p" not in asked
    assert (await kept(page))[-1]["tokens"] == 7
    assert await page.locator(".pieces span").count() == 7
    assert await page.locator(".pieces").text_content() == (await kept(page))[-1]["text"]
    await page.get_by_role("button", name="Parameters").click()
    await page.get_by_role("button", name="Reset").click()
    await expect(page.locator("input[name=temperature]")).to_have_value("0.3")
    await expect(page.locator("textarea[name=instructions]")).to_have_value("")


async def test_what_is_being_written_stays_while_an_answer_is_painted(link, open_page):
    page = await open_page(link.url)
    await ask(page)
    await until_words(page, 3)
    await page.get_by_role("button", name="Parameters").click()
    await page.locator("textarea[name=instructions]").press_sequentially("Answer in rhymes.", delay=30)
    await page.keyboard.press("Escape")
    await page.locator("#prompt").press_sequentially("and next", delay=30)
    await until_ended(page)
    await expect(page.locator("textarea[name=instructions]")).to_have_value("Answer in rhymes.")
    await expect(page.locator("#prompt")).to_have_value("and next")


async def test_thirty_thousand_characters_arrive_whole(long_up, open_page, artifacts):
    page = await open_page(long_up.url)
    line = "".join(f"w{n:03} " for n in range(60))
    await ask(page, f"{line}\n\n```text\n{line}\n{line}\n```\n\n")
    await until_ended(page)
    text = (await kept(page))[-1]["text"]
    assert len(text) >= 30_000
    letters = re.compile(r"w\d{3}")
    assert letters.findall(await seen(page)) == letters.findall(text)
    await page.screenshot(path=artifacts / "desktop-long-code.png")


async def test_a_server_that_asks_for_a_key_gets_one(locked_up, open_page, artifacts):
    page = await open_page(locked_up.url)
    await expect(page.get_by_role("dialog")).to_contain_text("This server asks for an API key")
    assert await faults(page) == []
    await page.screenshot(path=artifacts / "desktop-key.png")
    await page.locator("input[name=key]").fill("wrong-key")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_have_text("The server does not know this key.")
    await page.locator("input[name=key]").fill(KEY)
    await page.keyboard.press("Enter")
    await expect(page.locator("#model")).to_have_text("echo")
    await ask(page)
    await until_words(page, 10)
    await page.reload()
    await until_ended(page)
    assert KEY not in await page.evaluate("() => JSON.stringify(localStorage)")
