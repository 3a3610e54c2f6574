"""A page of another origin in a real browser: what is listed may use the API, nothing else may read a word."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser
from stack import Stack, running_stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASK = """async (url) => {
  const headers = { "Content-Type": "application/json", Authorization: "Bearer any", "X-Stainless-Lang": "js" };
  const messages = [{ role: "user", content: "one two " }];
  const body = JSON.stringify({ model: "echo", messages, max_tokens: 4, stream: true });
  try {
    const answer = await fetch(`${url}/v1/chat/completions`, { method: "POST", headers, body });
    return { status: answer.status, id: answer.headers.get("x-request-id"), text: await answer.text() };
  } catch (error) {
    return { error: String(error) };
  }
}"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The origin of a page that another server shows."""
    folder: Path = tmp_path_factory.mktemp("elsewhere")
    (folder / "index.html").write_text("<!doctype html><title>Elsewhere</title>")
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def stack(valkey: str, elsewhere: str) -> Iterator[Stack]:
    with running_stack(valkey, ORIGINS=elsewhere) as made:
        yield made


async def asked_from(browser: Browser, page_url: str, url: str) -> dict:
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(page_url)
    told = await page.evaluate(ASK, url)
    await context.close()
    return told


def accepted(stack: Stack) -> int:
    return sum(line["event"] == "accepted" for line in stack.lines())


async def test_a_page_of_a_listed_origin_streams_a_chat(browser: Browser, stack: Stack, elsewhere: str):
    told = await asked_from(browser, elsewhere, stack.url)
    assert told.get("status") == 200, told
    assert told["text"].endswith("data: [DONE]\n\n")
    assert told["id"]


async def test_a_page_of_any_other_origin_can_read_nothing(browser: Browser, stack: Stack, elsewhere: str):
    foreign = elsewhere.replace("127.0.0.1", "localhost")
    before = accepted(stack)
    assert "error" in await asked_from(browser, foreign, stack.url)
    assert accepted(stack) == before
