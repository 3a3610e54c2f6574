"""A thousand bad inputs of all kinds against a running gateway, beside healthy streams."""

import asyncio
import itertools
import random
import time

import pytest
from bad_inputs import KINDS
from raw_wire import exchange
from stack import running_stack

from tokenwire.client import stream
from worker.engines.echo import words

INPUTS = 1_000
SECONDS = 90
AT_ONCE = 24
SLOW_ONES = 6
"""Inputs of each kind whose refusal waits for a time limit."""
PROMPT = "the healthy go on "
SEED = 7
HELD = ('connections{door="websocket"}', 'connections{door="sse"}', "attachments", "outbox_bytes")
"""Metrics that are zero when nobody is there."""


async def refused(port, name, draw):
    """Send one; return how it was answered if that is not what is promised."""
    kind = KINDS[name]
    answered = await exchange(port, *kind.make(draw))
    promised = (kind.status, kind.close, kind.code)
    told = (answered.status, answered.close, answered.code if kind.code else "")
    return None if told == promised else (name, promised, (*told, answered.code, answered.body[:200]))


async def strike(port, names):
    """Send them, some at a time; return what was not refused as promised."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number, name):
        async with gate if not KINDS[name].slow else asyncio.Semaphore():
            return await refused(port, name, random.Random(f"{SEED}-{number}"))

    results = await asyncio.gather(*(one(number, name) for number, name in enumerate(names)))
    return [result for result in results if result is not None]


async def healthy(url, over):
    """Ask for one answer after the other; each is exact and none needs a second socket."""
    vocabulary = words(PROMPT)
    answers = 0
    while not over.is_set():
        answer = stream(PROMPT, base_url=url, max_output_tokens=100)
        text = "".join([piece async for piece in answer])
        assert text == "".join(itertools.islice(itertools.cycle(vocabulary), 100))
        assert answer.resumes == 0
        answers += 1
    return answers


async def settled(stack):
    """Wait until nobody is there; return what the process holds then."""
    async with asyncio.timeout(20):
        while True:
            metrics = await asyncio.to_thread(stack.metrics)
            held = [metrics[f"tokenwire_{name}"] for name in HELD]
            connections = len(stack.gateway.net_connections("tcp"))
            if not any(held) and connections <= 2:  # the two ports listen
                return stack.gateway.num_fds(), stack.gateway.memory_info().rss
            await asyncio.sleep(0.1)  # nothing tells that the last one has gone


def a_thousand():
    """All kinds in turn, the slow ones first and a few times only, so that they wait beside the others."""
    slow = [name for name, kind in KINDS.items() if kind.slow] * SLOW_ONES
    quick = itertools.cycle([name for name, kind in KINDS.items() if not kind.slow])
    return [*slow, *itertools.islice(quick, INPUTS - len(slow))]


@pytest.fixture(scope="module")
def stack(valkey):
    with running_stack(valkey) as made:
        yield made


async def test_a_thousand_bad_inputs_each_get_their_refusal_and_harm_nobody(stack):
    assert len(KINDS) >= 40
    began = time.monotonic()
    assert not await strike(stack.port, [name for name, kind in KINDS.items() if not kind.slow])
    fds, memory = await settled(stack)
    over = asyncio.Event()
    well = [asyncio.create_task(healthy(stack.url, over)) for _ in range(4)]
    names = a_thousand()
    wrong = await strike(stack.port, names)
    over.set()
    answers = sum(await asyncio.gather(*well))
    fds_after, memory_after = await settled(stack)
    assert not wrong
    assert len(names) == INPUTS
    assert answers >= 20
    assert fds_after <= fds
    assert memory_after - memory < 8 << 20
    assert time.monotonic() - began < SECONDS
    assert not [line for line in stack.lines() if line["level"] == "error"]
    assert not [line for line in stack.lines() if line["event"] in ("task_failed", "step_failed")]
    assert not stack.stderr()
