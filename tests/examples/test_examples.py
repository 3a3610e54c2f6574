"""Every example, run as its first lines say, against real processes."""

from __future__ import annotations

import asyncio
import functools
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from chromium import FLAGS, chromium
from cuttable import cuttable
from playwright.async_api import async_playwright
from stack import Stack, running_stack

EXAMPLES = Path(__file__).parents[2] / "examples"
PROMPT = "one two three four five "
PATIENCE = 90
SKY = "Why is the sky blue?"


@pytest.fixture(scope="module")
def page_url() -> Iterator[str]:
    """Any web server that serves the folder."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(EXAMPLES))
    )
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    serving.join()
    server.server_close()


@pytest.fixture(scope="module")
def stack(valkey, page_url) -> Iterator[Stack]:
    with running_stack(valkey, {"ECHO_RATE": "50"}, ORIGINS=page_url) as made:
        yield made


def run(command: list[str], url: str, **options: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command,
        env=os.environ | {"TOKENWIRE_URL": url},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stderr
    return done


def echoed(prompt: str, tokens: int) -> str:
    """What the echo engine answers."""
    words = [f"{word} " for word in prompt.split()]
    return "".join(words[n % len(words)] for n in range(tokens))


def test_every_example_is_in_the_readme_and_run_here():
    files = {path.name for path in EXAMPLES.iterdir()} - {"README.md"}
    readme = (EXAMPLES / "README.md").read_text()
    assert {name for name in files if f"| [{name}]({name}) |" in readme} == files
    assert {name for name in files if name in Path(__file__).read_text()} == files


def test_the_python_package(stack):
    done = run([sys.executable, str(EXAMPLES / "openai_sdk.py"), PROMPT], stack.url)
    assert done.stdout == echoed(PROMPT, 200) + "\n"


@pytest.mark.parametrize("page", ["README.md", "docs/protocol.md"])
def test_the_lines_of_a_page_run_as_they_stand(stack, page):
    (block,) = re.findall(
        r"^( *)```python\n(.*?)^\1```", (EXAMPLES.parent / page).read_text(), re.DOTALL | re.MULTILINE
    )
    lines = textwrap.dedent(block[1]).replace("http://127.0.0.1:8080", stack.url)
    lines, asked = re.subn(
        r"(?:, max_output_tokens=\d+)?\)(?=[:\n])", ", max_output_tokens=20)", lines, count=1
    )
    assert asked  # for a short answer: they have no bound, or a long one
    (prompt,) = re.findall(r'stream\("([^"]+)"', lines)
    assert run([sys.executable, "-c", lines], stack.url).stdout.startswith(echoed(prompt, 20))


async def test_the_client_that_comes_back(stack):
    async with cuttable(stack.port) as link:
        process = await start(link.url)
        said = await process.stdout.readexactly(100)
        link.cut()
        said += await process.stdout.read()
        assert await process.wait() == 0
    assert said.decode() == echoed(PROMPT, 400) + "\n"
    assert await process.stderr.read() == b"-- incomplete, resumed 1 times\n"


async def test_its_interrupt_is_a_stop(stack):
    process = await start(stack.url)
    said = await process.stdout.readexactly(100)
    process.send_signal(signal.SIGINT)
    said += await process.stdout.read()
    assert await process.wait() == 0
    assert echoed(PROMPT, 400).startswith(said.decode().rstrip("\n"))
    assert await process.stderr.read() == b"-- cancelled, resumed 0 times\n"


async def start(url: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLES / "resume.py"),
        PROMPT,
        env=os.environ | {"TOKENWIRE_URL": url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.fixture(scope="module")
def node_script(node_packages, tmp_path_factory) -> Path:
    """The Node example in a folder where npm has installed what it asks for."""
    folder = tmp_path_factory.mktemp("node")
    (folder / "node_modules").symlink_to(node_packages / "node_modules")
    return Path(shutil.copy(EXAMPLES / "openai_sdk.mjs", folder))


def test_the_node_package(stack, node_script):
    done = run(["node", str(node_script), PROMPT], stack.url)
    assert done.stdout == echoed(PROMPT, 200) + "\n"


async def test_the_node_package_comes_back(stack, node_script):
    async with cuttable(stack.port) as link:
        process = await asyncio.create_subprocess_exec(
            "node",
            str(node_script),
            PROMPT,
            env=os.environ | {"TOKENWIRE_URL": link.url},
            stdout=asyncio.subprocess.PIPE,
        )
        said = await process.stdout.readexactly(100)
        link.cut()
        said += await process.stdout.read()
        assert await process.wait() == 0
    assert said.decode() == echoed(PROMPT, 200) + "\n"


def test_curl(stack):
    done = run([str(EXAMPLES / "sse.sh")], stack.url)
    assert done.stdout.replace("\n", "") == echoed(SKY, 200)
    assert "going on" in done.stderr


async def test_the_page_types_and_comes_back(stack, page_url):
    async with cuttable(stack.port) as link, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        page = await browser.new_page()
        page.set_default_timeout(1000 * PATIENCE)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.goto(f"{page_url}/browser.html?gateway={link.url}")
        await page.fill("[name=prompt]", PROMPT)
        await page.click("text=Ask")
        await page.wait_for_function("document.querySelector('#answer').textContent.length > 100")
        assert link.cut() > 0
        await page.wait_for_function("document.querySelector('#state').textContent === 'incomplete'")
        assert await page.text_content("#answer") == echoed(PROMPT, 400)

        await page.click("text=Ask")
        await page.wait_for_function("document.querySelector('#answer').textContent.length > 20")
        await page.click("text=Stop")
        await page.wait_for_function("document.querySelector('#state').textContent === 'cancelled'")
        assert errors == []
        await browser.close()


async def test_a_page_from_elsewhere_is_not_let_in(stack, page_url):
    other = page_url.replace("127.0.0.1", "localhost")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        page = await browser.new_page()
        page.set_default_timeout(1000 * PATIENCE)
        await page.goto(f"{other}/browser.html?gateway={stack.url}")
        await page.click("text=Ask")
        await page.wait_for_function("document.querySelector('#state').textContent === 'reconnecting…'")
        assert await page.text_content("#answer") == ""
        await browser.close()


def test_the_notebook(stack, tmp_path):
    book = Path(shutil.copy(EXAMPLES / "latency.ipynb", tmp_path))
    environ = {
        "MPLCONFIGDIR": str(tmp_path),
        "IPYTHONDIR": str(tmp_path),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    command = [sys.executable, "-m", "jupyter", "execute", "--inplace", book.name]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | environ | {"TOKENWIRE_URL": stack.url},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    cells = [cell for cell in json.loads(book.read_text())["cells"] if cell["cell_type"] == "code"]
    said = "".join(
        "".join(out["text"]) for cell in cells for out in cell["outputs"] if out["output_type"] == "stream"
    )
    assert echoed(SKY, 120) in said
    assert re.search(r"first token after \d+ ms, then \d+ gaps\nmedian [\d.]+ ms", said)
    assert "image/png" in cells[-1]["outputs"][0]["data"]


def test_the_notebook_in_git_has_no_outputs():
    book = nbformat.read(EXAMPLES / "latency.ipynb", as_version=4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert code
    assert [cell for cell in code if cell.outputs or cell.execution_count is not None] == []
