"""The pitch in twenty seconds: an answer goes on while everything behind it is killed, cut and frozen.

With REFRESH_PICTURE the animation of the README is made anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import os
import subprocess
from pathlib import Path

import pytest
from chatting import WORDS, ask, logged, output_of, text_of, until_ended, until_words
from PIL import Image
from playwright.async_api import expect
from running import running_up

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

FRONTEND = Path(__file__).parents[2] / "frontend"
PICTURE = FRONTEND.parent / "docs/images/faults.gif"
TOKENS = 200
ANSWER = "".join(f"{WORDS[n % len(WORDS)]} " for n in range(TOKENS))
FRAME_SECONDS = 0.25
LAST_MS = 3000


@pytest.fixture(scope="module")
def demo_page():
    subprocess.run(
        ["npm", "run", "--silent", "build", "--", "--mode", "demo", "--logLevel", "error"],
        cwd=FRONTEND,
        check=True,
        timeout=300,
    )
    return FRONTEND / "dist-demo"


class Film:
    """Pictures of a page, taken while something happens on it."""

    def __init__(self, page):
        self._page = page
        self._frames: list[Image.Image] = []
        self._times: list[float] = []
        self._task = asyncio.create_task(self._run())

    async def _run(self):
        while True:
            self._times.append(asyncio.get_running_loop().time())
            picture = Image.open(io.BytesIO(await self._page.screenshot()))
            self._frames.append(
                picture.convert("RGB").resize((880, 608), Image.Resampling.LANCZOS).quantize(96)
            )
            await asyncio.sleep(FRAME_SECONDS)

    async def save(self, path):
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        first, *rest = self._frames
        gaps = [round(1000 * (after - before)) for before, after in itertools.pairwise(self._times)]
        shown = [*gaps, LAST_MS][: len(self._frames)]
        first.save(path, save_all=True, append_images=rest, duration=shown, loop=0)


async def test_the_text_goes_on_while_everything_behind_it_fails(demo_page, open_page, artifacts, free_port):
    settings = {
        "ENGINE": "echo",
        "ECHO_RATE": "12",
        "SLOTS": "4",
        "PAGE_DIR": str(demo_page),
        "DEFAULT_OUTPUT_TOKENS": str(TOKENS),
    }
    async with running_up(free_port, command="demo-faults", ready="demo ", **settings) as up:
        page = await open_page(up.url)
        await ask(page)
        await until_words(page, 10)
        film = Film(page)
        words = 20
        for button in ("kill-worker", "cut-socket", "kill-gateway", "freeze-redis"):
            await page.locator(f"#{button}").click()
            await expect(page.locator(f"#{button}")).to_be_enabled(timeout=20_000)
            await until_words(page, words)
            words += 25
        await until_ended(page)
        await film.save(artifacts / "faults.gif")
        if os.environ.get("REFRESH_PICTURE"):
            await film.save(PICTURE)

        said = await page.locator("#faults li").all_text_contents()
        assert len(said) == 3
        assert said[0].startswith("Redis was frozen")
        assert output_of(await logged(page)) == await text_of(page) == ANSWER
        died = [line for line in up.lines if " died (SIGKILL)" in line]
        assert sorted(line.split("-")[0] for line in died) == ["gateway", "worker"]
