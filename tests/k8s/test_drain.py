"""A gateway and a worker are told to stop, as a rollout does, with the times of the manifests; nobody notices."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from manifest_rules import SETTINGS
from manifests import containers, environment, first_key, named, overlay
from pods import Pod, started, status_of
from routing import Service
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from shared.settings import read
from shared.store.link import Link
from tokenwire.client import Stream, stream

PROMPT = "one two three four five "
TOKENS, RATE = 600, 25
"""Twenty-four seconds of an answer: it outlasts the drain, also where its beginning is waited for."""
CLIENTS = 12


def settings(tier):
    objects = overlay("cpu")
    return read(SETTINGS[tier], environment(objects, containers(named(objects, "Deployment", tier))[0]))


def claims(worker: Pod) -> int:
    return sum(line["event"] == "claimed" for line in worker.lines)


async def read_whole(answer: Stream, begun: asyncio.Event) -> str:
    pieces = []
    async for piece in answer:
        pieces.append(piece)
        begun.set()
    return "".join(pieces)


async def closed_with(port: int, create: dict[str, object], begun: asyncio.Event) -> int | None:
    """The code that ends a plain socket in mid-answer."""
    headers = {"Authorization": f"Bearer {first_key()}"}
    url = f"ws://127.0.0.1:{port}/v1/responses"
    async with connect(url, additional_headers=headers, compression=None) as socket:
        await socket.send(json.dumps(create))
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.recv()
                begun.set()
        return socket.close_code


async def stop_gateway(gateway: Pod, port: int) -> float:
    """SIGTERM; meanwhile it says that it is not ready, and still takes what is routed to it."""
    stopping = asyncio.create_task(gateway.terminated())
    await gateway.says("draining")
    assert await gateway.answers("/readyz") == 503
    assert await gateway.answers("/livez") == 200
    assert await asyncio.to_thread(status_of, f"http://127.0.0.1:{port}/v1/models") == 200
    return await stopping


@pytest.fixture
async def pods(valkey, tmp_path):
    link = Link.to(valkey)
    await link.command("FLUSHALL")
    await link.close()
    # The times are those of a deployment that is meant to last; only what computes is the echo engine.
    echo = {"ENGINE": "echo", "MODEL_NAME": "echo", "SLOTS": "64", "ECHO_RATE": str(RATE)}
    objects = overlay("cpu")
    async with contextlib.AsyncExitStack() as stack:
        made: dict[str, list[Pod]] = {"worker": [], "gateway": []}
        for number in range(2):
            name = {"WORKER_NAME": f"worker-{number}"}
            worker = await stack.enter_async_context(
                started(objects, "worker", valkey, tmp_path, **echo, **name)
            )
            made["worker"].append(worker)
            gateway = await stack.enter_async_context(started(objects, "gateway", valkey, tmp_path))
            made["gateway"].append(gateway)
        for pod in (*made["worker"], *made["gateway"]):
            await pod.says("ready")
        yield made


async def test_a_rollout_within_the_manifests_times_is_invisible(pods):
    old = pods["gateway"][0]
    port = int(str((await old.says("listening"))["port"]))
    async with Service().open() as service, asyncio.timeout(120):
        for gateway in pods["gateway"]:
            await service.add(gateway)
        answers = [
            stream(
                PROMPT,
                base_url=f"{service.url}/v1",
                api_key=first_key(),
                model="echo",
                max_output_tokens=TOKENS,
            )
            for _ in range(CLIENTS)
        ]
        begun = [asyncio.Event() for _ in range(CLIENTS + 1)]
        texts = [asyncio.create_task(read_whole(*each)) for each in zip(answers, begun, strict=False)]
        create = {"type": "response.create", "model": "echo", "input": PROMPT, "max_output_tokens": TOKENS}
        code = asyncio.create_task(closed_with(port, create, begun[-1]))
        for each in begun:
            await each.wait()
        worker = max(pods["worker"], key=claims)  # one of them may have claimed everything

        seconds = dict(
            zip(
                ("gateway", "worker"),
                await asyncio.gather(stop_gateway(old, port), worker.terminated()),
                strict=True,
            )
        )

        assert await code == 1012
        assert set(await asyncio.gather(*texts)) == {PROMPT * (TOKENS // 5)}

    assert seconds["gateway"] >= settings("gateway").routing_seconds
    resumed = sum(answer.resumes for answer in answers)
    assert CLIENTS // 2 <= resumed <= CLIENTS  # those that the old gateway had, and each of them once
    handed = [line for line in worker.lines if line["event"] == "draining"]
    assert handed[0]["running"], "the worker had nothing to hand over, so this proved nothing"
