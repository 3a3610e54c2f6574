"""In front of the real `transformers serve` with the small model."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from gateway_bench import assert_contiguous, text_of
from store_bench import eventually
from whole import Viewer, whole

from gateway.auth import DEVELOPER
from shared.log import unescape

pytestmark = pytest.mark.model

START = 180.0
"""Seconds that the server may take to load on a busy machine."""


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="module")
def upstream_url(small_model_dir, tmp_path_factory):
    pytest.importorskip("fastapi", reason="transformers[serving] is not installed: make setup")
    folder = tmp_path_factory.mktemp("serve")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [Path(sys.executable).with_name("transformers"), "serve", small_model_dir]
    options = ["--device", "cpu", "--dtype", "float32", "--host", "127.0.0.1", "--port", str(port)]
    environ = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder), "OMP_NUM_THREADS": "1"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, *options], env=environ, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + START
            while not answers(f"http://127.0.0.1:{port}/health"):
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.1)  # it gives no other sign
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(30)


def ask(made, text, tokens, **fields):
    message = {"type": "response.create", "model": "small", "input": text, "max_output_tokens": tokens}
    viewer = Viewer(tokens)
    viewer.task = asyncio.create_task(viewer._talk(made.gateway.port, message | {"temperature": 0} | fields))
    made.viewers.append(viewer)
    return viewer


async def test_it_streams_stops_and_tells_what_the_server_cannot(valkey, upstream_url, small_model_dir):
    async with whole(valkey, workers=0) as made:
        made.start(
            "asker",
            engine="openai",
            upstream=upstream_url,
            upstream_model=str(small_model_dir),
            model_name="small",
            lease_seconds=5.0,
        )

        async def announced():
            return await made.store.workers()

        await eventually(announced, 20)
        await made.gateway._round()
        viewer = ask(made, "What is the capital of France?", 12)
        last = await viewer.end()
        assert "Paris" in text_of(viewer.events)
        assert_contiguous(viewer.events)
        log = await made.log_of(viewer.response_id)
        assert unescape("".join(entry.text for entry in log.entries)) == text_of(viewer.events)
        usage = last["response"]["usage"]
        assert usage["input_tokens"] > 5
        assert 0 < usage["output_tokens"] <= 12
        assert viewer.deltas > 1  # it streams

        stopped = ask(made, "Count from one to a hundred in words.", 200)
        await stopped.saw(3)
        await made.store.cancel(stopped.response_id, DEVELOPER.name)
        last = await stopped.end()
        assert last["response"]["status"] == "cancelled"
        assert last["response"]["usage"]["output_tokens"] < 200

        scored = ask(made, "Hello", 3, top_logprobs=1)
        last = await scored.end()
        assert last["type"] == "response.failed"
        assert "tells no `logprobs`" in last["response"]["error"]["message"]
