"""The transformers engine against the library's own ``generate``, and against faults."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest
import torch
from engines import Heard, order, run, tiny_options
from generated_apart import TEXTS, generated_apart
from transformers import AutoModelForCausalLM

from shared.log import Reason
from shared.logprobs import decode, join
from shared.request import Message
from worker.engine_thread import EngineThread
from worker.engines.contract import EngineError, Piece
from worker.engines.transformers.engine import TransformersEngine
from worker.engines.transformers.prompt import encode


def test_greedy_text_is_what_generate_makes_though_sequences_join_at_different_steps(engine, tiny_model_dir):
    heard = Heard()
    for n, text in enumerate(TEXTS):
        heard.events += run(engine, order(f"r{n}", text, max_tokens=30), steps=n + 1).events
    heard.events += run(engine).events
    for n, text in enumerate(TEXTS):
        ids, whole = generated_apart(tiny_model_dir, engine._loaded.tokenizer, text, 30)
        assert (heard.ids(f"r{n}"), heard.text(f"r{n}")) == (ids, whole)


def penalised_apart(folder, tokenizer, text, *, frequency, presence):
    """Generate greedily with penalties, a whole forward per token; return ids, logprobs and runners-up."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    prompt, ids, logprobs, likeliest = encode(tokenizer, [Message("user", text)]), [], [], []
    with torch.inference_mode():
        while len(ids) < 30 and 1 not in ids:
            logits = model(torch.tensor([prompt + ids])).logits[0, -1]
            own = torch.log_softmax(logits, dim=-1)
            for token_id in set(ids):
                logits[token_id] -= frequency * ids.count(token_id) + presence
            ids.append(int(logits.argmax()))
            logprobs.append(float(own[ids[-1]]))
            likeliest.append(own.topk(2).values.tolist())
    return ids, logprobs, likeliest


def test_penalties_and_logprobs_are_those_of_a_plain_loop(engine, tiny_model_dir):
    asked = {"frequency_penalty": 1.5, "presence_penalty": 0.5, "top_logprobs": 2, "max_tokens": 30}
    heard = run(engine, *(order(f"r{n}", text, **asked) for n, text in enumerate(TEXTS)))
    free = run(engine, *(order(f"r{n}", text, max_tokens=30) for n, text in enumerate(TEXTS)))
    tokenizer = engine._loaded.tokenizer
    for n, text in enumerate(TEXTS):
        ids, logprobs, likeliest = penalised_apart(
            tiny_model_dir, tokenizer, text, frequency=1.5, presence=0.5
        )
        assert heard.ids(f"r{n}") == ids
        told = decode(join(piece.logprobs for piece in heard.pieces(f"r{n}")))
        assert [each.logprob for each in told] == pytest.approx(logprobs[: len(told)], abs=1e-4)
        assert [[logprob for _, logprob in each.top] for each in told] == [
            pytest.approx(top, abs=1e-4) for top in likeliest[: len(told)]
        ]
        assert len(told) == len(ids) - (ids[-1] == 1)  # of the end token nothing is told
    assert any(heard.ids(f"r{n}") != free.ids(f"r{n}") for n in range(len(TEXTS)))


def test_a_raw_prompt_is_gone_on_from_as_generate_does(engine, tiny_model_dir):
    heard = run(
        engine, *(replace(order(f"r{n}", text, max_tokens=20), raw=True) for n, text in enumerate(TEXTS))
    )
    for n, text in enumerate(TEXTS):
        apart = generated_apart(tiny_model_dir, engine._loaded.tokenizer, text, 20, raw=True)
        assert (heard.ids(f"r{n}"), heard.text(f"r{n}")) == apart


def test_slots_with_holes_between_them_are_computed_alike(engine):
    alone = run(engine, order("c", TEXTS[3], max_tokens=40)).answer("c")
    heard = run(engine, *(order(name, TEXTS[3], max_tokens=40) for name in "abc"), steps=25)
    engine.cancel("b")
    heard.events += run(engine).events
    assert heard.answer("a") == heard.answer("c") == alone


def test_a_prompt_of_any_length_is_computed_in_chunks_alike(loaded, tiny_model_dir):
    def answer(**budget):
        engine = TransformersEngine(loaded, tiny_options(tiny_model_dir, **budget))
        return run(engine, order("a", "the quick brown fox " * 8, max_tokens=20)).answer("a")

    whole = answer(step_tokens=500)
    assert [answer(step_tokens=n) for n in (5, 7, 16, 63)] == [whole] * 4


def test_the_first_piece_comes_before_the_third_step(engine):
    engine.prepare(order("a", "Hi"))()
    pieces = [event for _ in range(3) for event in engine.step() if isinstance(event, Piece)]
    assert pieces


class Gate:
    """The tokenizer, standing still at a prompt that has the word."""

    def __init__(self, word):
        self.word, self.reached, self.opened = word, threading.Event(), threading.Event()

    def __call__(self, tokenizer, messages, *, raw=False):
        if self.word in messages[-1].text:
            self.reached.set()
            assert self.opened.wait(40)
        return encode(tokenizer, messages, raw=raw)


async def test_others_are_decoded_while_a_long_prompt_is_tokenised_and_a_stop_then_ends_it(
    engine, monkeypatch
):
    gate = Gate("long")
    monkeypatch.setattr("worker.engines.transformers.engine.encode", gate)
    thread, heard, news = EngineThread(lambda: engine), Heard(), asyncio.Event()
    step, may_step = engine.step, threading.Event()
    monkeypatch.setattr(engine, "step", lambda: may_step.wait(40) and step())

    def on_step(events):
        heard.events += events
        news.set()

    async def until(condition):
        async with asyncio.timeout(40):
            while not condition():
                news.clear()
                await news.wait()

    await thread.start(on_step)
    try:
        thread.submit(order("a", "the fox", max_tokens=50))
        thread.submit(order("b", "long " * 30))
        assert await asyncio.to_thread(gate.reached.wait, 40)
        may_step.set()
        await until(lambda: heard.endings("a"))
        thread.cancel("b")
        assert thread.stats().waiting == 0
        gate.opened.set()
        thread.submit(order("c", "Hi"))
        await until(lambda: heard.endings("c"))
    finally:
        gate.opened.set()
        may_step.set()
        await thread.close()
    assert heard.of("b") == []
    assert engine.stats().prompt_tokens == sum(p.prompt_tokens for name in "ac" for p in heard.pieces(name))


def test_time_and_tokens_are_counted(engine):
    run(engine, order("a", TEXTS[4], max_tokens=10))
    stats = engine.stats()
    assert stats.prompt_tokens == len(encode(engine._loaded.tokenizer, [Message("user", TEXTS[4])]))
    assert stats.generated_tokens == 10
    assert stats.prefill_seconds > 0
    assert stats.decode_seconds > 0


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"temperature": -1.0}, "temperature"),
        ({"ids": [99_999]}, "unknown to the model"),
        ({"ids": [40], "logged": "something else"}, "tokenizer"),
    ],
)
def test_what_an_order_gets_wrong_is_refused_before_the_batch(engine, wrong, sentence):
    heard = run(engine, order("bad", "Hi", **wrong), order("good", "Hi"))
    (ending,) = heard.of("bad")
    assert (ending.reason, sentence in ending.message) == (Reason.ERROR, True)
    assert len(heard.ids("good")) > 0


def test_a_conversation_that_the_template_refuses_is_the_askers_fault(engine):
    engine._loaded.tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    (ending,) = run(engine, order("a", "Hi")).of("a")
    assert (ending.reason, "roles must alternate" in ending.message) == (Reason.ERROR, True)


class Poison:
    """Makes the model raise whenever a token is computed."""

    def __init__(self, engine, token_id):
        self.token_id = token_id
        self.calls = 0
        engine._loaded.model.get_input_embeddings().register_forward_pre_hook(self)

    def __call__(self, _module, inputs):
        self.calls += 1
        if self.token_id is None or (inputs[0] == self.token_id).any():
            raise RuntimeError("index out of range in self\nand more")


def rare_token(engine):
    """Return the id of a word that no prompt here has, and the word."""
    return engine._loaded.tokenizer.encode("#")[0], "#"


def test_a_sequence_that_makes_the_model_raise_fails_alone(engine):
    alone = run(engine, order("a", TEXTS[0]), order("b", TEXTS[1]))
    token_id, word = rare_token(engine)
    Poison(engine, token_id)
    heard = run(engine, order("a", TEXTS[0]), order("bad", f"so {word} so"), order("b", TEXTS[1]))
    assert [heard.answer(name) for name in "ab"] == [alone.answer(name) for name in "ab"]
    (ending,) = heard.of("bad")
    assert ending.reason == Reason.ERROR
    assert ending.message == "The engine failed on this response: RuntimeError: index out of range in self"


def test_a_neighbour_of_one_that_fails_loses_no_logprob(engine):
    asked = order("a", TEXTS[0], top_logprobs=2)
    alone = decode(join(piece.logprobs for piece in run(engine, asked).pieces("a")))
    token_id, word = rare_token(engine)
    Poison(engine, token_id)
    heard = run(engine, asked, steps=5)
    assert 0 < len(heard.ids("a")) < 8  # it decodes while the other one fails
    heard.events += run(engine, order("bad", word)).events
    told = decode(join(piece.logprobs for piece in heard.pieces("a")))
    assert [each.token for each in told] == [each.token for each in alone]
    assert [each.logprob for each in told] == pytest.approx([each.logprob for each in alone], abs=1e-4)


class Memory:
    """Makes the model run out of memory whenever more tokens are computed at once than fit."""

    def __init__(self, engine, fits):
        self.fits, self.seen = fits, 0
        engine._loaded.model.get_input_embeddings().register_forward_pre_hook(self)

    def __call__(self, _module, inputs):
        tokens = inputs[0].numel()
        if tokens > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        self.seen = max(self.seen, tokens)


@pytest.mark.parametrize("fits", [1, 2, 7])
def test_a_step_that_does_not_fit_into_memory_is_taken_in_parts_and_nobody_fails(engine, fits):
    wanted = [order(f"r{n}", text, max_tokens=9, top_logprobs=1) for n, text in enumerate(TEXTS)]
    alone = run(engine, *wanted)
    memory = Memory(engine, fits)
    heard = run(engine, *wanted)
    assert fits / 2 < memory.seen <= fits  # by halves, so more than half of what fits is used
    for one in wanted:
        assert heard.answer(one.response_id) == alone.answer(one.response_id)
        assert len(heard.pieces(one.response_id)) == len(alone.pieces(one.response_id))


def test_a_device_without_memory_for_a_single_token_breaks_the_engine(engine):
    Memory(engine, 0)
    engine.prepare(order("a"))()
    with pytest.raises(EngineError, match="computes nothing any more"):
        engine.step()


def test_it_goes_on_after_a_sequence_failed_that_was_alone(engine):
    token_id, word = rare_token(engine)
    Poison(engine, token_id)
    assert run(engine, order("bad", word)).endings("bad")[0].reason == Reason.ERROR
    assert run(engine, order("good", TEXTS[0])).ids("good")


def test_a_model_that_computes_nothing_any_more_breaks_the_engine(engine):
    Poison(engine, None)
    engine.prepare(order("a"))()
    with pytest.raises(EngineError, match="computes nothing any more"):
        engine.step()


def test_a_sequence_whose_logits_are_not_numbers_fails_alone(engine):
    alone = run(engine, order("a", TEXTS[0])).answer("a")
    token_id, word = rare_token(engine)
    with torch.no_grad():
        engine._loaded.model.get_input_embeddings().weight[token_id] = float("nan")
    heard = run(engine, order("a", TEXTS[0]), order("bad", word))
    assert heard.answer("a") == alone
    assert "not a number" in heard.endings("bad")[0].message
    assert run(engine, order("a", TEXTS[0])).answer("a") == alone  # nothing is left in the slot


@pytest.mark.parametrize("cancelled", [False, True])
def test_numbers_that_are_none_do_not_reach_who_has_the_slot_next(loaded, tiny_model_dir, cancelled):
    engine = TransformersEngine(loaded, tiny_options(tiny_model_dir, step_tokens=8))
    short, long = order("short", TEXTS[0]), order("long", TEXTS[4])
    alone = [run(engine, each).answer(each.response_id) for each in (short, long)]
    token_id, word = rare_token(engine)
    with torch.no_grad():
        engine._loaded.model.get_input_embeddings().weight[token_id] = float("nan")
    bad = run(engine, order("bad", f"{TEXTS[0]} {word} {TEXTS[4]}"), steps=9 if cancelled else 100)
    assert bool(bad.endings("bad")) is not cancelled  # in the midst of its prompt, or for what came of it
    engine.cancel("bad")
    heard = run(engine, short, long)  # the long one's length is read of the short one's slot too
    assert [heard.answer(name) for name in ("short", "long")] == alone


def test_a_model_of_only_nonsense_breaks_the_engine(engine):
    with torch.no_grad():
        engine._loaded.model.get_output_embeddings().weight.fill_(float("nan"))
    with pytest.raises(EngineError, match="not a number"):
        run(engine, order("a"))


def test_budgets_that_do_not_fit_are_said_before_the_model_is_loaded(tmp_path):
    with pytest.raises(EngineError, match="slots"):
        TransformersEngine.start(tiny_options(tmp_path, slots=50))
