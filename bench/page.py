"""The page beside one that only appends text nodes: frames, long tasks and the main thread's time, in chromium.

The echo engine says a Markdown text of 10,000 characters at 100 tokens a second to either, in alternated rounds.
The peer shows the text as it comes and does nothing else, so nothing can be cheaper; it stands in ``bench/peer``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from bench.measure import Comparison, Row, differences, python, ratios, show, valkey

_RATE = 100
_ROUNDS = 5
_CHARACTERS = 10_000
_HERE = Path(__file__).parent
_BUILT = _HERE.parent / "frontend" / "dist"
_PAGE = _BUILT / "index.html"
_CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--no-sandbox",  # as root in a container there is none to be had
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)

_SECTION = """\
## Part {n}: how a token travels

Each **token** is *numbered* before it is sent, so a reader who holds `{n}` knows what must come next; a gap is filled
from the [log](https://example.invalid/log/{n}), and what came twice is dropped. ~~Nobody~~ No reader ever sees the
same words twice, **whatever *fails*** on the way from the model to the screen.

- a worker computes it, with all that it knows
- Redis writes it down and calls it out
    - the log is the truth
    - the channel is the fast path
- a gateway hands it on, `{n}` of many

1. First the socket is opened.
2. Then the question is asked, and the answer begins.
3. Last comes the ending, with the usage in numbers.

> What was said once stays said: the cursor is `({n}, epoch)`, and nothing else has to be kept.

```python
def accept(first: int, last: int, have: int) -> str:
    # what a reader does with numbers {n}
    if last <= have:
        return "duplicate"
    return "deliver" if first == have + 1 else "gap"
```

| tier | holds | loses |
|---|---|---:|
| gateway {n} | sockets | 0 |
| worker {n} | sequences | 0 |
| Redis | the log | {n} |

"""


def answer(characters: int = _CHARACTERS) -> str:
    """Return a Markdown text of at least so many characters: every kind of block and of emphasis, again and again."""
    text = "# A token's way\n\n"
    for n in count(1):
        if len(text) >= characters:
            break
        text += _SECTION.format(n=n)
    return text.strip()


def run() -> None:
    """Measure and print; a sentence where there is no browser or no page to measure."""
    for there, what in ((_CHROMIUM, "chromium: make debian"), (_PAGE.is_file(), "built page: make setup")):
        if not there:
            print(f"\npage: not measured, for there is no {what}")
            return
    text = answer()
    with stack(text, _RATE) as url, chromium() as browser:
        rounds = [{name: way(browser, url, text) for name, way in WAYS.items()} for _ in range(_ROUNDS)]
    tokens = len(text.split())
    print(f"\npage: {len(text)} characters of Markdown in {tokens} tokens at {_RATE}/s, {_load()}")
    for title, unit, figure, compare in _FIGURES:
        rows = [Row(name, [figure(each[name]) for each in rounds]) for name in WAYS]
        show(f"page: {title}", unit, rows, compare)


@dataclass(frozen=True, slots=True)
class Measured:
    """One answer in one page."""

    seconds: float
    """From the first delta to the last event."""
    frames: int
    """Of the browser, meanwhile."""
    long_tasks: list[float]
    """How long each was, in milliseconds: of more than 50, from the first delta to a second after the end."""
    main: Mapping[str, float]
    """CPU seconds of the main thread by what it did, from asking to a second after the end."""


_FIGURES: tuple[tuple[str, str, Callable[[Measured], float], Comparison], ...] = (
    (
        "frames while the answer came, at least 0.9 of the peer's",
        "a second",
        lambda it: it.frames / it.seconds,
        ratios,
    ),
    ("long tasks, at most two more than the peer's", "an answer", lambda it: len(it.long_tasks), differences),
    ("all long tasks together", "ms", lambda it: sum(it.long_tasks), differences),
    ("CPU of the main thread, scripts", "ms an answer", lambda it: 1e3 * it.main["ScriptDuration"], ratios),
    (
        "CPU of the main thread, styles and layout",
        "ms an answer",
        lambda it: 1e3 * (it.main["RecalcStyleDuration"] + it.main["LayoutDuration"]),
        ratios,
    ),
    ("CPU of the main thread, everything", "ms an answer", lambda it: 1e3 * it.main["TaskDuration"], ratios),
)


def _ours(browser: Browser, url: str, text: str) -> Measured:
    with _opened(browser, url) as page:
        page.locator("#prompt").fill(text)
        return _measured(page, lambda: page.keyboard.press("Enter"), ".answer", text)


def _peers(browser: Browser, url: str, text: str) -> Measured:
    with _opened(browser, f"{url}/peer/") as page:
        return _measured(page, lambda: page.evaluate("(text) => ask(text)", text), "#answer", text)


WAYS: Mapping[str, Callable[[Browser, str, str], Measured]] = {
    "text nodes alone": _peers,
    "our page": _ours,
}
"""The peer first: ratios are to it."""


@contextlib.contextmanager
def _opened(browser: Browser, url: str) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1100, "height": 760})
    context.add_init_script(path=_HERE / "witness.js")
    page = context.new_page()
    page.goto(url, wait_until="networkidle")
    yield page
    context.close()


def _measured(page: Page, ask: Callable[[], None], where: str, text: str) -> Measured:
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})

    def metrics() -> dict[str, float]:
        return {each["name"]: each["value"] for each in devtools.send("Performance.getMetrics")["metrics"]}

    before = metrics()
    ask()
    page.evaluate("() => witness.done")
    after = metrics()
    shown = len("".join(page.locator(where).inner_text().split()))
    # Marks of Markdown are not shown; an answer that is not there would be painted fast.
    if shown < 0.7 * len("".join(text.split())):
        raise RuntimeError(f"{page.url} shows {shown} characters of the answer only: nothing was measured")
    seen = page.evaluate("() => witness")
    return Measured(
        seconds=(seen["ended"] - seen["began"]) / 1e3,
        frames=seen["frames"],
        long_tasks=[
            task["duration"]
            for task in seen["longTasks"]
            if task["startTime"] + task["duration"] > seen["began"]
        ],
        main={name: after[name] - before[name] for name in after if name.endswith("Duration")},
    )


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Run a browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@contextlib.contextmanager
def stack(text: str, rate: float) -> Iterator[str]:
    """Run a gateway that serves both pages, and a worker that says ``text`` once; yield the gateway's URL."""
    tokens = str(len(text.split()))
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="tw-bench-") as folder, valkey() as (redis, _):
        pages = Path(folder) / "pages"
        shutil.copytree(_BUILT, pages)
        shutil.copytree(_HERE / "peer", pages / "peer")
        common = {"REDIS_URL": redis, "PROBE_PORT": "0"}
        limits = {"DEFAULT_OUTPUT_TOKENS": tokens, "MAX_OUTPUT_TOKENS": tokens}
        gateway = common | limits | {"PORT": str(port), "PAGE_DIR": str(pages)}
        worker = common | {"ENGINE": "echo", "ECHO_RATE": str(rate)}
        with python("worker", worker), python("gateway", gateway):
            _await(port)
            yield f"http://127.0.0.1:{port}"


def _await(port: int) -> None:
    """Wait until somebody listens."""
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
