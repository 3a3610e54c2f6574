"""A prompt that kills every worker it meets: it fails openly, and its batch mates lose a pause, not their answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from openai import AsyncOpenAI
from running import Up, running_up

MATES = 10
TOKENS = 60


@pytest.fixture
async def up(free_port: int) -> AsyncIterator[Up]:
    async with running_up(
        free_port, ENGINE="echo", ECHO_POISON="1", ECHO_RATE="30", WORKERS="2", SLOTS="16", LEASE_SECONDS="1"
    ) as made:
        yield made


async def ending(client: AsyncOpenAI, prompt: str) -> tuple[str, object]:
    """Ask over a socket of its own; return the joined deltas and the terminal event."""
    async with client.responses.connect() as connection:
        await connection.send({"type": "response.create", "input": prompt, "max_output_tokens": TOKENS})
        text, numbers = "", []
        async for event in connection:
            numbers.append(event.sequence_number)
            if event.type == "response.output_text.delta":
                text += event.delta
            if event.type in ("response.completed", "response.incomplete", "response.failed"):
                assert numbers == list(range(len(numbers)))
                return text, event
    raise AssertionError("the socket ended before the answer")


async def test_a_poison_prompt_fails_after_three_deaths_and_its_neighbours_answers_are_whole(up: Up):
    async with AsyncOpenAI(base_url=f"{up.url}/v1", api_key="any") as client:
        prompts = [f"mate {n} speaks" for n in range(MATES)]
        mates = [asyncio.create_task(ending(client, prompt)) for prompt in prompts]
        poison = asyncio.create_task(ending(client, "please #poison this"))
        async with asyncio.timeout(90):
            answers = await asyncio.gather(*mates)
            _, failed = await poison

    assert failed.type == "response.failed"
    assert failed.response.error.code == "worker_lost"
    for prompt, (text, event) in zip(prompts, answers, strict=True):
        assert event.type == "response.incomplete"
        assert text == (prompt + " ") * (TOKENS // 3)
    assert len([line for line in up.lines if "died (exit code 70)" in line]) == 3
