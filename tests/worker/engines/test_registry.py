"""Engines by name, whole: thread, loop and stepper together."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from engines import echo_options, order, tiny_options
from upstream import serving, upstream_options

from worker.engines.contract import Ended, EngineError, Piece
from worker.engines.registry import ENGINES, make_engine


@pytest.fixture(params=ENGINES)
async def engine(request, tiny_model_dir):
    async with serving() as upstream:
        engine = make_engine(
            request.param,
            echo=echo_options(rate=200.0),
            transformers=tiny_options(tiny_model_dir),
            upstream=upstream_options(upstream),
        )
        yield engine
        await engine.close()


async def test_each_engine_answers_on_the_event_loop(engine):
    heard, ended = [], asyncio.Event()

    def on_step(events):
        heard.extend(events)
        if isinstance(heard[-1], Ended):
            ended.set()

    await engine.start(on_step)
    engine.submit(order("a", "the quick brown fox", max_tokens=5))
    async with asyncio.timeout(20):
        await ended.wait()
    assert sum(len(event.ids) for event in heard if isinstance(event, Piece)) == 5
    assert engine.healthy


def test_an_unknown_engine_is_one_sentence(tmp_path):
    with pytest.raises(EngineError, match="choose one of transformers, openai, echo"):
        make_engine(
            "magic",
            echo=echo_options(),
            transformers=tiny_options(tmp_path),
            upstream=upstream_options(),
        )


def test_an_upstream_is_asked_without_torch_or_tokenizers_installed():
    blocked = "import sys; sys.modules.update(dict.fromkeys(['torch', 'transformers', 'tokenizers']));"
    code = f"{blocked} import worker.app; import worker.engines.openai.engine; print('fine')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "fine\n", done.stderr
