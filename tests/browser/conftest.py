"""A real browser in front of the real stack, with a link between them that can be cut."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from chatting import KEY, TOKENS
from chromium import FLAGS, chromium
from cuttable import Cuttable, cuttable
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect
from running import Up, running_up

ROOT = Path(__file__).parents[2]

# Writes down, from outside of the page's own code, each paint of an answer's text, and what the state line said.
# Records are delivered after each paint, so one call is one paint: `size` is the text's then, `touched` the
# characters that were put there or put there again.
WITNESS = """
window.witness = { frame: 0, paints: [], said: [] };
// Counts frames by itself: under load two frames may share one time.
requestAnimationFrame(function next() {
  witness.frame += 1;
  requestAnimationFrame(next);
});
const within = (node, selector) => (node instanceof Element ? node : node.parentElement)?.closest(selector);
const written = ({ type, target, oldValue, addedNodes }) => {
  if (type === "childList") return [...addedNodes].reduce((sum, { textContent }) => sum + textContent.length, 0);
  const { data } = target;
  return data.length - (data.startsWith(oldValue) ? oldValue.length : 0);
};
new MutationObserver((records) => {
  const paint = { frame: witness.frame, size: 0, touched: 0 };
  for (const record of records) {
    const answer = within(record.target, ".answer");
    if (answer) {
      paint.size = answer.textContent.length;
      paint.touched += written(record);
    }
  }
  if (paint.touched > 0) witness.paints.push(paint);
  const line = document.querySelector("#state .line")?.textContent;
  if (line !== undefined && line !== witness.said.at(-1)) witness.said.push(line);
}).observe(document, { characterData: true, characterDataOldValue: true, childList: true, subtree: true });
"""

ECHO = {
    "ENGINE": "echo",
    "ECHO_RATE": "30",
    "SLOTS": "1",
    "DEFAULT_OUTPUT_TOKENS": str(TOKENS),
    # Old at the end of every turn: each next question meets a session that is over.
    "SESSION_SECONDS": "1",
}


expect.set_options(timeout=30_000)
"""Milliseconds for what a page must come to show: the library's own five bound the machine."""


@pytest.fixture(scope="session", autouse=True)
def _provided() -> None:
    chromium()
    if not (ROOT / "frontend/dist/index.html").is_file():
        pytest.skip("the page was not built: make setup")


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """Where pictures are put for whoever looks at a run."""
    folder = ROOT / ".artifacts/browser"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def echo_up() -> AsyncIterator[Up]:
    """One stack with the echo engine and a single slot."""
    async with running_up(_free_port(), **ECHO) as up:
        yield up


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(valkey: str) -> AsyncIterator[tuple[Up, Up]]:
    """Two stacks on one server: what one's gateway asks for, the other's worker may compute."""
    # Eight seconds of an answer: five reloads take three of them on a busy machine, and all must hit it.
    shared = ECHO | {"REDIS_URL": valkey, "LEASE_SECONDS": "1", "SLOTS": "4", "ECHO_RATE": "15"}
    async with running_up(_free_port(), **shared) as one, running_up(_free_port(), **shared) as other:
        yield one, other


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def long_up() -> AsyncIterator[Up]:
    """One stack that makes long answers, fast."""
    async with running_up(
        _free_port(),
        **ECHO | {"ECHO_RATE": "2000", "DEFAULT_OUTPUT_TOKENS": "6500", "MAX_OUTPUT_TOKENS": "6500"},
    ) as up:
        yield up


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def locked_up() -> AsyncIterator[Up]:
    """One stack that lets nobody in without a key."""
    async with running_up(_free_port(), **ECHO | {"AUTH": "keys", "API_KEYS": f"browser:{KEY}"}) as up:
        yield up


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model_up() -> AsyncIterator[Up]:
    """One stack with the real small model."""
    async with running_up(_free_port(), DEFAULT_OUTPUT_TOKENS="72") as up:
        yield up


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        yield launched
        await launched.close()


@pytest_asyncio.fixture(loop_scope="module")
async def link(echo_up: Up) -> AsyncIterator[Cuttable]:
    async with cuttable(echo_up.port) as made:
        yield made


Opener = Callable[..., Awaitable[Page]]


@pytest_asyncio.fixture(loop_scope="module")
async def open_page(browser: Browser) -> AsyncIterator[Opener]:
    """Open pages in contexts of their own; in the end none may have complained or gone elsewhere."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    async def opened(url: str, **options: object) -> Page:
        context = await browser.new_context(
            base_url=url, **{"viewport": {"width": 1100, "height": 760}, **options}
        )
        contexts.append(context)
        await context.add_init_script(WITNESS)
        page = await context.new_page()
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("console", lambda message: complaints.append(f"console: {message.text}"))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.on(
            "request",
            lambda request: request.url.startswith(url) or complaints.append(f"elsewhere: {request.url}"),
        )
        await page.goto(url)
        return page

    async with _closing(contexts):
        yield opened
    # A lost connection and a refusal are logged by the browser itself, whatever the page does.
    own = ("net::ERR_", "console: WebSocket connection to ", "status of 401 (Unauthorized)")
    assert [each for each in complaints if not any(word in each for word in own)] == []


@asynccontextmanager
async def _closing(contexts: list[BrowserContext]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for context in contexts:
            await context.close()
