"""A whole server of the small model beside `transformers serve`: the same library, model, threads and questions.

Both are asked the same way, by streamed chat completions of the official client, and answer greedily in float32.  The
peer runs with its continuous batching on: it is one process that keeps no log, so a client that goes or a server that
dies takes the answer with it.  Ours is a gateway, a store and a worker, with everything they promise.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openai import APIError, AsyncOpenAI

from bench.engine import prompts
from bench.measure import Row, free_port, python, running, show, valkey
from worker.engines.transformers.model import small_model

_AT_ONCE = (1, 4, 16)
_TOKENS = 32
_ROUNDS = 2
_THREADS = "2"


@dataclass(frozen=True, slots=True)
class _Figures:
    """What some clients at once saw."""

    rate: float
    """Tokens a second, all together."""
    first: float
    """Milliseconds until the first text, the median of the clients'."""


def run(cache: Path = Path(".cache/models")) -> None:
    """Measure and print."""
    folder = small_model(cache, print).resolve()
    ways: dict[str, Way] = {"tokenwire": _tokenwire, "transformers serve": _transformers_serve}
    figures: dict[tuple[str, int], list[_Figures]] = {(way, n): [] for way in ways for n in _AT_ONCE}
    count = _counter(folder)
    for _ in range(_ROUNDS):
        for name, way in ways.items():
            with way(folder) as (base_url, model):
                for at_once in _AT_ONCE:
                    seen = asyncio.run(_asked(base_url, model, at_once, count))
                    figures[name, at_once].append(seen)
    for at_once in _AT_ONCE:
        each = {name: figures[name, at_once] for name in ways}
        rates = [Row(name, [seen.rate for seen in rounds]) for name, rounds in each.items()]
        firsts = [Row(name, [seen.first for seen in rounds]) for name, rounds in each.items()]
        show(f"serve: tokens per second, {at_once} clients, {_THREADS} threads", "tokens/s", rates)
        show(f"serve: time to the first text, {at_once} clients", "ms", firsts)


Way = Callable[[Path], contextlib.AbstractContextManager[tuple[str, str]]]
"""From the model's folder to a server's base URL and its name of the model."""


@contextlib.contextmanager
def _tokenwire(folder: Path) -> Iterator[tuple[str, str]]:
    port = free_port()
    with valkey() as (url, _):
        common = {"REDIS_URL": url, "PROBE_PORT": "0"}
        work = {
            "ENGINE": "transformers",
            "MODEL": str(folder),
            "MODEL_NAME": "small",
            "SLOTS": str(max(_AT_ONCE)),
            "RESERVE_SLOTS": "0",
            "CONTEXT_LENGTH": "512",
            "THREADS": _THREADS,
        }
        with python("worker", common | work), python("gateway", common | {"PORT": str(port)}):
            yield f"http://127.0.0.1:{port}/v1", "small"


@contextlib.contextmanager
def _transformers_serve(folder: Path) -> Iterator[tuple[str, str]]:
    port = free_port()
    program = Path(sys.executable).with_name("transformers")
    address = ["--host", "127.0.0.1", "--port", str(port)]
    load = ["--device", "cpu", "--dtype", "float32"]
    # Its cache is sized by the machine's memory where nobody says, and it knows nothing of its neighbours.
    batch = ["--cb-block-size", "32", "--cb-num-blocks", "256", "--cb-max-batch-tokens", "512"]
    command = [str(program), "serve", str(folder), *address, *load, "--continuous-batching", *batch]
    with tempfile.TemporaryDirectory(prefix="tw-bench-") as home:
        # Sleeping threads, as our worker sets them: by default those of the peer spin, which on shared cores costs it
        # most of its speed.
        threads = {"OMP_NUM_THREADS": _THREADS, "OMP_WAIT_POLICY": "PASSIVE"}
        with running(command, threads | {"HF_HUB_OFFLINE": "1", "HF_HOME": home}):
            yield f"http://127.0.0.1:{port}/v1", str(folder)


async def _asked(base_url: str, model: str, at_once: int, count: Callable[[str], int]) -> _Figures:
    async with AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=120) as client:
        await _until_it_answers(client, model)
        began = time.perf_counter()
        seen = await asyncio.gather(*(_answer(client, model, prompt) for prompt in prompts(at_once)))
        seconds = time.perf_counter() - began
    tokens = sum(count(text) for text, _ in seen)
    return _Figures(tokens / seconds, 1000 * statistics.median(first for _, first in seen))


async def _answer(client: AsyncOpenAI, model: str, prompt: str) -> tuple[str, float]:
    """Return the text, and the seconds until its first part."""
    began, first, parts = time.perf_counter(), 0.0, []
    stream = await client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": prompt}],
        max_tokens=_TOKENS,
        temperature=0,
        stream=True,
    )
    async for chunk in stream:
        part = chunk.choices[0].delta.content if chunk.choices else None
        if part:
            first = first or time.perf_counter() - began
            parts.append(part)
    return "".join(parts), first


async def _until_it_answers(client: AsyncOpenAI, model: str, seconds: float = 180.0) -> None:
    """Ask until an answer comes: the model is loaded then, and the first answer's allocations are made."""
    async with asyncio.timeout(seconds):
        while True:
            with contextlib.suppress(APIError):
                text, _ = await _answer(client, model, "Say something.")
                if text:
                    return
            await asyncio.sleep(0.2)


def _counter(folder: Path) -> Callable[[str], int]:
    """Return what counts tokens, the same for both: a server's events may hold several."""
    from transformers import AutoTokenizer  # noqa: PLC0415 - takes seconds, and other benchmarks need it not

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)  # Any: its own types say less than what it is
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])
