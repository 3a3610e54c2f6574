"""The engine at 16 requests at once beside transformers' own `generate`, one after the other; real model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from bench.measure import Row, show
from shared.request import Message, Sampling
from worker.engines.contract import Ended, Order, Piece
from worker.engines.options import TransformersOptions
from worker.engines.transformers.engine import TransformersEngine
from worker.engines.transformers.model import small_model

_AT_ONCE = 16
_TOKENS = 32
_ROUNDS = 2
_THREADS = 2


def run(cache: Path = Path(".cache/models")) -> None:
    """Measure and print."""
    folder = small_model(cache, print)
    ours = TransformersEngine.start(
        TransformersOptions(
            cache=cache, model=str(folder), slots=_AT_ONCE, threads=_THREADS, context_length=512
        )
    )
    sequential = _Sequential(folder)
    names = ("generate, one after the other", f"our engine, {_AT_ONCE} at once")
    figures: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(_ROUNDS):
        figures[names[0]].append(sequential.rate())
        figures[names[1]].append(_rate(ours))
    ours.close()
    rows = [Row(name, each) for name, each in figures.items()]
    show(f"engine: tokens per second, {_THREADS} threads", "tokens/s", rows)


def prompts(count: int) -> list[str]:
    """Return questions of about the same length."""
    return [
        f"Write {n + 2} short sentences about the sea, the wind and the number {n}." for n in range(count)
    ]


def _rate(engine: TransformersEngine) -> float:
    for n, prompt in enumerate(prompts(_AT_ONCE)):
        sampling = Sampling(max_tokens=_TOKENS, seed=1, temperature=0)
        engine.prepare(Order(f"r{n}", (Message("user", prompt),), sampling))()
    tokens, ended, began = 0, 0, time.perf_counter()
    while ended < _AT_ONCE:
        for event in engine.step():
            tokens += len(event.ids) if isinstance(event, Piece) else 0
            ended += isinstance(event, Ended)
    return tokens / (time.perf_counter() - began)


class _Sequential:
    """The peer: transformers as its documentation shows it."""

    def __init__(self, folder: Path) -> None:
        import torch  # noqa: PLC0415 - takes seconds, and other benchmarks need it not
        from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415 - likewise

        torch.set_num_threads(_THREADS)
        # Any: transformers' own types say less than what these objects are.
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    def rate(self, count: int = 3) -> float:
        """Return tokens per second over some prompts."""
        tokens, began = 0, time.perf_counter()
        for prompt in prompts(count):
            ids = self._tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}],
                add_generation_prompt=True,
                return_tensors="pt",
                return_dict=True,
            )
            out = self._model.generate(**ids, max_new_tokens=_TOKENS, do_sample=False)
            tokens += out.shape[1] - ids["input_ids"].shape[1]
        return tokens / (time.perf_counter() - began)
