"""What logging and publishing one token costs: one script per step beside one await per command."""

from __future__ import annotations

import asyncio
import time

from redis.asyncio import Redis

from bench.measure import Cpu, Row, show, valkey
from shared.log import new_response_id
from shared.request import Message, Request, Sampling
from shared.store import keys
from shared.store.contract import Append, Claim
from shared.store.gateway import RedisGatewayStore
from shared.store.link import Link
from shared.store.worker import RedisWorkerStore

_SEQUENCES = 32
_STEPS = 300
_ROUNDS = 3


def run() -> None:
    """Measure and print."""
    names = ("one script per step (ours)", "await XADD, await PUBLISH per token")
    worker: dict[str, list[float]] = {name: [] for name in names}
    server: dict[str, list[float]] = {name: [] for name in names}
    with valkey() as (url, pid):
        for _ in range(_ROUNDS):
            for name, way in zip(names, (_ours, _naive), strict=True):
                spent = asyncio.run(way(url, pid))
                worker[name].append(spent[0])
                server[name].append(spent[1])
    show(
        f"emit: CPU of the worker per token, {_SEQUENCES} sequences a step",
        "us",
        [Row(n, worker[n]) for n in names],
    )
    show("emit: CPU of the server per token", "us", [Row(n, server[n]) for n in names])


async def _ours(url: str, pid: int) -> tuple[float, float]:
    link, submitting = Link.to(url), Link.to(url)
    gateway = RedisGatewayStore(submitting, name="bench")
    store = RedisWorkerStore(link, url, worker="bench", model="m", build="b")
    claims: list[Claim] = []
    for _ in range(_SEQUENCES):
        request = Request(
            new_response_id(0), "m", "p", (Message("user", "x"),), Sampling(max_tokens=9, seed=1), keep=-1
        )
        await gateway.submit(request, None, 10_000)
    while len(claims) < _SEQUENCES:
        claims += await store.claim(_SEQUENCES - len(claims), lambda: True)
    cpu, own = Cpu(pid), time.process_time()
    for step in range(_STEPS):
        await store.append(
            [
                Append(claim.response_id, claim.epoch, claim.upto + 1 + step, "token ", (step,))
                for claim in claims
            ]
        )
    spent = _per_token(cpu, own)
    for claim in claims:
        await gateway.cancel(claim.response_id, "p")
    await store.close()
    await link.close()
    await submitting.close()
    return spent


async def _naive(url: str, pid: int) -> tuple[float, float]:
    client = Redis.from_url(url)
    ids = [new_response_id(0) for _ in range(_SEQUENCES)]
    await client.ping()
    cpu, own = Cpu(pid), time.process_time()
    for step in range(_STEPS):
        for response_id in ids:
            await client.xadd(keys.of_response(response_id).log, {"t": "token ", "i": step})
            await client.publish(keys.channel(response_id), f"{step} token ")
    spent = _per_token(cpu, own)
    await client.delete(*(keys.of_response(response_id).log for response_id in ids))
    await client.aclose()
    return spent


def _per_token(cpu: Cpu, own: float) -> tuple[float, float]:
    tokens = _SEQUENCES * _STEPS
    [server] = cpu.spent()
    return 1e6 * (time.process_time() - own) / tokens, 1e6 * server / tokens
