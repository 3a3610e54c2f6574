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
FRAME_SECONDS = 0.4
LAST_MS = 3000
SIZE = (880, 608)
COLOURS = 96
MOST_BYTES = 500_000
"""What people load with the README."""


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
            await self._take()
            await asyncio.sleep(FRAME_SECONDS)

    async def _take(self):
        time = asyncio.get_running_loop().time()
        picture = Image.open(io.BytesIO(await self._page.screenshot()))
        self._frames.append(picture.convert("RGB").resize(SIZE, Image.Resampling.LANCZOS))
        self._times.append(time)

    async def end(self):
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self._take()

    def save(self, path):
        first, *rest = _drawn(self._frames)
        gaps = [round(1000 * (after - before)) for before, after in itertools.pairwise(self._times)]
        first.save(path, save_all=True, append_images=rest, duration=[*gaps, LAST_MS], loop=0)


def _drawn(frames):
    """Draw all frames in the same few colours, without dots in between: what stands still is then stored once."""
    sheet = Image.new("RGB", (SIZE[0], SIZE[1] * len(frames)))
    for at, frame in enumerate(frames):
        sheet.paste(frame, (0, SIZE[1] * at))
    # Half of them are those of the most dots, as they are; half are far apart, for what little has a colour says most.
    common = sorted(sheet.getcolors(sheet.width * sheet.height), reverse=True)[: COLOURS // 2]
    apart = sheet.quantize(COLOURS // 2, Image.Quantize.MAXCOVERAGE).getpalette()[: 3 * COLOURS // 2]
    palette = Image.new("P", (1, 1))
    palette.putpalette([*itertools.chain.from_iterable(colour for _, colour in common), *apart])
    return [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]


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
        await film.end()
        film.save(artifacts / "faults.gif")
        assert (artifacts / "faults.gif").stat().st_size < MOST_BYTES
        if os.environ.get("REFRESH_PICTURE"):
            film.save(PICTURE)

        said = await page.locator("#faults li").all_text_contents()
        assert len(said) == 3
        assert said[0].startswith("Redis was frozen")
        assert output_of(await logged(page)) == await text_of(page) == ANSWER
        died = [line for line in up.lines if " died (SIGKILL)" in line]
        assert sorted(line.split("-")[0] for line in died) == ["gateway", "worker"]
