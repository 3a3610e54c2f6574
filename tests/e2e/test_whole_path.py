"""The whole path with the real model: page's protocol, gateway, Valkey, workers, SmolLM2."""

from __future__ import annotations

import asyncio
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import psutil
import pytest
from gateway_bench import assert_contiguous
from openai import AsyncOpenAI
from prometheus_client.parser import text_string_to_metric_families
from running import Up, running_up
from store_bench import eventually

from shared.log import Kind, unescape
from shared.store.contract import Followed
from shared.store.gateway import RedisGatewayStore
from shared.store.link import Link

pytestmark = pytest.mark.model

PROMPTS = (
    "What is the capital of France?",
    "Name three colours.",
    "Write one sentence about the sea.",
    "Count from one to ten.",
    "What do bees make?",
    "Explain what a queue is.",
    "Give me a word that rhymes with light.",
    "Say hello in Spanish.",
    "Why is the sky blue?",
    "List four animals.",
)
TOKENS = 32


@pytest.fixture
async def up(valkey: str, free_port: int) -> AsyncIterator[Up]:
    link = Link.to(valkey)
    await link.command("FLUSHALL")
    await link.close()
    async with running_up(free_port, REDIS_URL=valkey, WORKERS="2", LEASE_SECONDS="3") as made:
        yield made


@pytest.fixture
async def store(valkey: str) -> AsyncIterator[RedisGatewayStore]:
    link = Link.to(valkey)
    yield RedisGatewayStore(link, name="test")
    await link.close()


@pytest.fixture
async def client(up: Up) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{up.url}/v1", api_key="any") as made:
        yield made


async def whole_log(store: RedisGatewayStore, response_id: str) -> Followed:
    link = store._link
    principal = (await link.command("HGET", f"{{p0}}r:{response_id}", "principal")).decode()
    followed = await store.follow(response_id, principal, None, -1, None)
    assert isinstance(followed, Followed), followed
    return followed


async def logged_text(store: RedisGatewayStore, response_id: str) -> str:
    entries = (await whole_log(store, response_id)).entries
    return unescape("".join(e.text for e in entries if e.kind is Kind.DELTA))


async def streamed(
    client: AsyncOpenAI, prompt: str, *, seed: int = 1, temperature: float = 0.0
) -> Sequence[object]:
    """One answer over a socket of its own, as the SDK's user gets it."""
    async with client.responses.connect() as connection:
        await connection.send(
            {
                "type": "response.create",
                "input": prompt,
                "max_output_tokens": TOKENS,
                "temperature": temperature,
                "seed": seed,
            }
        )
        events = []
        async for event in connection:
            events.append(event)
            if event.type in ("response.completed", "response.incomplete", "response.failed"):
                return events
    raise AssertionError("the socket ended before the answer")


def joined(events: Sequence[object]) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


async def cancelled_after(client: AsyncOpenAI, deltas: int) -> Sequence[object]:
    async with client.responses.connect() as connection:
        await connection.send({"type": "response.create", "input": PROMPTS[8], "max_output_tokens": 400})
        events = []
        async for event in connection:
            events.append(event)
            if sum(e.type == "response.output_text.delta" for e in events) == deltas:
                await connection.send({"type": "response.cancel"})
                deltas = -1
            if event.type == "response.incomplete":
                return events
    raise AssertionError("the socket ended before the answer")


async def gone_after_the_first_delta(client: AsyncOpenAI) -> str:
    async with client.responses.connect() as connection:
        await connection.send({"type": "response.create", "input": PROMPTS[5], "max_output_tokens": 64})
        async for event in connection:
            if event.type == "response.created":
                response_id = event.response.id
            if event.type == "response.output_text.delta":
                return response_id
    raise AssertionError("the socket ended before the answer")


def generated_apart(model_dir: str) -> list[str]:
    """What transformers' own `generate` answers, without any of our code."""
    import torch  # noqa: PLC0415 - torch takes seconds, and not every run needs it
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415 - likewise

    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    answers = []
    for prompt in PROMPTS:
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        out = model.generate(**ids, max_new_tokens=TOKENS, do_sample=False)
        answers.append(tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True))
    return answers


async def test_twenty_streams_are_exact_while_one_is_stopped_and_one_client_disappears(
    up: Up, client: AsyncOpenAI, store: RedisGatewayStore, small_model_dir
):
    greedy = [streamed(client, prompt) for prompt in PROMPTS]
    sampled = [streamed(client, prompt, seed=n, temperature=0.8) for n, prompt in enumerate(PROMPTS[:8])]
    answers = asyncio.gather(*greedy, *sampled)
    stopped = asyncio.create_task(cancelled_after(client, 5))
    left = asyncio.create_task(gone_after_the_first_delta(client))
    runs = await answers

    for events in runs:
        done = next(event for event in events if event.type == "response.output_text.done")
        final = events[-1].response
        assert_contiguous([event.to_dict() for event in events])
        assert joined(events) == done.text == final.output_text
        assert joined(events) == await logged_text(store, final.id)
        assert final.usage.output_tokens <= TOKENS
    stop = await stopped
    assert stop[-1].response.status == "cancelled"
    assert joined(stop) == await logged_text(store, stop[-1].response.id)

    expected = await asyncio.to_thread(generated_apart, str(small_model_dir))
    assert [joined(events) for events in runs[: len(PROMPTS)]] == expected

    async def the_left_one_ended():
        return (await whole_log(store, await left)).status.terminal

    await eventually(the_left_one_ended, 60)
    await nothing_is_left(up, store)


async def nothing_is_left(up: Up, store: RedisGatewayStore) -> None:
    """Look at keys, queue, waiting set and deadlines, sockets and sequences after everything has ended."""
    link = store._link
    keys = [key.decode() for key in await link.command("KEYS", "*")]
    ttls = {key: await link.command("PTTL", key) for key in keys}
    permanent = {key for key, ttl in ttls.items() if ttl == -1}
    assert permanent <= {key for key in keys if key.startswith(("{p0}q:", "{p0}t:"))}
    queue = next(key for key in keys if key.startswith("{p0}q:"))
    assert (await link.command("XLEN", queue), (await link.command("XPENDING", queue, "w"))[0]) == (0, 0)
    assert not [key for key in keys if key.startswith(("{p0}w:", "{p0}d"))]

    async def idle():
        seen = await asyncio.to_thread(_metrics, list(up.metrics.values()))
        return seen["tokenwire_connections"] == 0 and seen["tokenwire_engine_sequences_running"] == 0

    await eventually(idle, 30)


def _metrics(urls: Sequence[str]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for url in urls:
        with urllib.request.urlopen(url, timeout=10) as reply:
            for family in text_string_to_metric_families(reply.read().decode()):
                for sample in family.samples:
                    sums[sample.name] = sums.get(sample.name, 0) + sample.value
    return sums


async def test_a_worker_killed_in_mid_answer_is_a_pause_and_the_text_is_that_of_an_undisturbed_run(
    up: Up, client: AsyncOpenAI, store: RedisGatewayStore
):
    undisturbed = joined(await streamed(client, PROMPTS[8]))
    async with client.responses.connect() as connection:
        await connection.send(
            {
                "type": "response.create",
                "input": PROMPTS[8],
                "max_output_tokens": TOKENS,
                "temperature": 0,
                "seed": 1,
            }
        )
        events = []
        async for event in connection:
            events.append(event)
            if (
                sum(e.type == "response.output_text.delta" for e in events) == 6
                and len(up.pids)
                and not _killed(up)
            ):
                log = await whole_log(store, events[0].response.id)
                owner = next(entry.owner for entry in log.entries if entry.kind is Kind.STARTED)
                up.kill(owner.partition(".")[0])
                up.lines.append("killed")
            if event.type in ("response.completed", "response.incomplete", "response.failed"):
                break

    assert joined(events) == undisturbed
    assert_contiguous([event.to_dict() for event in events])
    log = await whole_log(store, events[0].response.id)
    assert [entry.kind for entry in log.entries].count(Kind.HANDED) == 1


def _killed(up: Up) -> bool:
    return "killed" in up.lines


async def test_a_stop_leaves_no_process_and_no_file(free_port: int):
    with tempfile.TemporaryDirectory(prefix="tw-") as folder:
        async with running_up(free_port, TMPDIR=folder) as up:
            processes = [psutil.Process(pid) for pid in up.pids.values()]
            assert [path.name for path in Path(folder).glob("*/*.sock")] == ["valkey.sock"]

        assert up.process.returncode == 0
        assert len(processes) == 3
        assert not [process for process in processes if process.is_running()]
        assert not list(Path(folder).iterdir())
