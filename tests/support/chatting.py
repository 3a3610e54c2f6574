"""What a browser test does with the page: ask, wait, and read what stands there."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from playwright.async_api import Locator, Page, expect

TOKENS = 120
"""What the stacks of the browser tests have as DEFAULT_OUTPUT_TOKENS: the echo engine goes on until then."""

KEY = "a-key-for-the-browser-tests"
"""What lets the browser into the stack that asks for one."""

PROMPT = (
    "A token is a small piece of text: a word, a part of one, or a mark. The model reads them all and computes "
    "which may come next, again and again, and each is sent on its way before the following one is known."
)
WORDS = PROMPT.split()
ANSWER = "".join(f"{WORDS[n % len(WORDS)]} " for n in range(TOKENS))
LIMIT = "Ended early: the limit of tokens was reached"

_UNTIL_TEXT = """(size) => new Promise((done) => {
  const look = () => {
    const text = [...document.querySelectorAll(".answer")].at(-1)?.textContent ?? "";
    if (text.length >= size) done();
    else requestAnimationFrame(look);
  };
  look();
})"""

_UNTIL_SAID = """(state) => new Promise((done) => {
  const look = () => {
    if (window.witness.said.some((line) => new RegExp(state).test(line))) done();
    else requestAnimationFrame(look);
  };
  look();
})"""

_KEPT = "() => localStorage.getItem(`tokenwire.conversation.${location.hash.slice(4)}`)"


async def ask(page: Page, prompt: str = PROMPT) -> None:
    """Type a question and send it."""
    turns = await page.locator(".turn").count()
    await page.locator("#prompt").fill(prompt)
    await page.keyboard.press("Enter")
    await expect(page.locator(".turn")).to_have_count(turns + 1)


def answer(page: Page, turn: int = -1) -> Locator:
    return page.locator(".answer").nth(turn)


async def seen(page: Page, turn: int = -1) -> str:
    """Return the text of an answer as it stands on the screen."""
    text: str = await answer(page, turn).evaluate("(element) => element.textContent")
    return text


async def kept(page: Page) -> list[dict[str, Any]]:
    """Return the turns of the shown branch, as the browser keeps them."""
    written = await page.evaluate(_KEPT)
    conversation = json.loads(written)
    turns = {turn["id"]: turn for turn in conversation["turns"]}
    branch: list[dict[str, Any]] = []
    at = conversation["leaf"]
    while at is not None:
        branch.insert(0, turns[at])
        at = turns[at]["parent"]
    return branch


async def text_of(page: Page, turn: int = -1) -> str:
    """Return an ended answer's whole text; what is on the screen must be that, but for white space."""
    text: str = (await kept(page))[turn]["text"]
    assert "".join((await seen(page, turn)).split()) == "".join(text.split())
    return text


async def until_words(page: Page, count: int) -> None:
    """Wait for the frame in which so many words of the answer stand on the screen."""
    start = "".join(f"{WORDS[n % len(WORDS)]} " for n in range(count)).rstrip()
    async with asyncio.timeout(30):
        await page.evaluate(_UNTIL_TEXT, len(start))
    assert (await seen(page)).startswith(start)


async def until_said(page: Page, state: str) -> None:
    """Wait until the state line has said something that matches, however shortly; a regular expression."""
    async with asyncio.timeout(60):
        await page.evaluate(_UNTIL_SAID, state)


async def until_ended(page: Page, state: str = LIMIT) -> None:
    """Wait until the state line begins so, and stays."""
    await expect(page.locator("#state .line")).to_have_text(
        re.compile(f"^{re.escape(state)}"), timeout=60_000
    )


async def witness(page: Page, what: str) -> Any:
    return await page.evaluate("(what) => window.witness[what]", what)


async def response_id(page: Page) -> str:
    text = await page.locator(".id").last.text_content()
    assert text
    return text


async def logged(page: Page) -> dict[str, Any]:
    """The response as the gateway reads it from the log."""
    reply = await page.request.get(f"/v1/responses/{await response_id(page)}")
    assert reply.ok
    response: dict[str, Any] = await reply.json()
    return response


def output_of(response: dict[str, Any]) -> str:
    text: str = response["output"][0]["content"][0]["text"]
    return text
