"""Chat completions and completions over a worker's death, with real processes: the same text, once, in order."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest
from openai import AsyncOpenAI
from running import Up, running_up

from shared.log import Kind
from shared.store.contract import Followed
from shared.store.gateway import RedisGatewayStore
from shared.store.link import Link
from worker.engines.echo import words

PROMPT = "what is said here is said again "
TOKENS = 100
ASKED = {
    "chat": {"messages": [{"role": "user", "content": PROMPT}]},
    "text": {"prompt": PROMPT},
}


@pytest.fixture
async def up(valkey: str, free_port: int) -> AsyncIterator[Up]:
    link = Link.to(valkey)
    await link.command("FLUSHALL")
    await link.close()
    async with running_up(
        free_port, REDIS_URL=valkey, ENGINE="echo", ECHO_RATE="25", WORKERS="2", LEASE_SECONDS="3"
    ) as made:
        yield made


@pytest.fixture
async def store(valkey: str) -> AsyncIterator[RedisGatewayStore]:
    link = Link.to(valkey)
    yield RedisGatewayStore(link, name="test")
    await link.close()


async def log_of(store: RedisGatewayStore, completion_id: str) -> Followed:
    log = await store.follow("resp_" + completion_id.rpartition("-")[2], "dev", None, -1, None)
    assert isinstance(log, Followed), log
    return log


@pytest.mark.parametrize("form", ASKED)
async def test_a_streams_text_is_whole_though_its_worker_is_killed(
    up: Up, store: RedisGatewayStore, form: str
):
    text, killed, reasons = "", False, []
    async with (
        AsyncOpenAI(base_url=f"{up.url}/v1", api_key="any", max_retries=0) as client,
        asyncio.timeout(90),
    ):
        api = client.chat.completions if form == "chat" else client.completions
        async for chunk in await api.create(**ASKED[form], model="echo", max_tokens=TOKENS, stream=True):
            choice = chunk.choices[0]
            text += (choice.text if form == "text" else choice.delta.content) or ""
            reasons.append(choice.finish_reason)
            if not killed and len(text) > 3 * len(PROMPT) // 2:
                log = await log_of(store, chunk.id)
                owner = next(entry.owner for entry in log.entries if entry.kind is Kind.STARTED)
                up.kill(owner.partition(".")[0])
                killed = True
    assert text == "".join(itertools.islice(itertools.cycle(words(PROMPT)), TOKENS))
    assert reasons == [None] * (len(reasons) - 1) + ["length"]
    kinds = [entry.kind for entry in (await log_of(store, chunk.id)).entries]
    assert kinds.count(Kind.HANDED) == 1
