"""A deploy under load: every gateway and every worker is replaced while clients read, and none of them sees it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from gateway_bench import assert_contiguous, text_of
from tier_process import TierProcess
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from shared.store.contract import Leases
from shared.store.link import Link
from tokenwire.client import ENDINGS

CLIENTS = 40
TOKENS = 160
RATE = 40
"""Tokens per second, so that an answer lasts four seconds and most drains hit it."""
STOP_SECONDS = 30.0
"""From SIGTERM to an orderly end."""


@dataclass
class Fleet:
    """Two gateways and two workers, and what routes to the gateways."""

    url: str
    stack: contextlib.AsyncExitStack
    gateways: list[tuple[TierProcess, int]] = field(default_factory=list)
    workers: list[TierProcess] = field(default_factory=list)
    stopped: list[TierProcess] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    """Where new connections go."""

    async def start(self, tier: str, **settings: str) -> TierProcess:
        environ = os.environ | {"REDIS_URL": self.url, "PORT": "0", "PROBE_PORT": "0"} | settings
        started = await TierProcess.started(tier, environ)
        self.stack.push_async_callback(started.killed)
        return started

    async def start_gateway(self) -> None:
        gateway = await self.start("gateway", DRAIN_SECONDS="1", ROUTING_SECONDS="0.3")
        port = (await gateway.says("listening"))["port"]
        await gateway.says("ready")
        assert isinstance(port, int)
        self.gateways.append((gateway, port))
        self.ports.append(port)

    async def start_worker(self) -> None:
        worker = await self.start("worker", ENGINE="echo", ECHO_RATE=str(RATE), SLOTS="24")
        await worker.says("ready")
        self.workers.append(worker)

    async def replace_gateway(self) -> None:
        await self.start_gateway()
        old, port = self.gateways.pop(0)
        self.stopped.append(old)
        stopping = asyncio.create_task(old.told_to_stop(STOP_SECONDS))
        await old.says("draining")  # as a readiness probe would see it
        self.ports.remove(port)
        await stopping

    async def replace_worker(self) -> None:
        await self.start_worker()
        old = self.workers.pop(0)
        self.stopped.append(old)
        await old.told_to_stop(STOP_SECONDS)


@pytest.fixture
async def fleet(valkey: str) -> AsyncIterator[Fleet]:
    link = Link.to(valkey)
    await link.command("FLUSHALL")
    await link.close()
    async with contextlib.AsyncExitStack() as stack:
        made = Fleet(valkey, stack)
        for _ in range(2):
            await made.start_worker()
        for _ in range(2):
            await made.start_gateway()
        yield made


@dataclass
class Reader:
    """A client that asks for one answer after another and goes on by its cursor wherever it is let in."""

    fleet: Fleet
    number: int
    dice: random.Random
    asked: int = 0
    answers: list[list[dict[str, object]]] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    """Close codes met in mid-answer."""
    refused: int = 0
    heard: float = 0.0
    pause: float = 0.0
    """The longest between two events of one answer."""

    async def read_until(self, over: asyncio.Event) -> None:
        while not over.is_set():
            self.asked += 1
            events: list[dict[str, object]] = []
            while not events or events[-1]["type"] not in ENDINGS:
                await self._one_socket(events)
            self.answers.append(events)

    async def _one_socket(self, events: list[dict[str, object]]) -> None:
        url = f"ws://127.0.0.1:{self.dice.choice(self.fleet.ports)}/v1/responses"
        if events:
            response = events[0]["response"]
            assert isinstance(response, dict)
            last = events[-1]
            url += f"?response_id={response['id']}&starting_after={last['sequence_number']}&epoch={last['epoch']}"
        try:
            async with connect(url, compression=None) as connection:
                if not events:
                    await connection.send(json.dumps(self._create()))
                await self._read(connection, events)
        except (OSError, InvalidHandshake):
            self.refused += 1
            await asyncio.sleep(0.05)  # a client's back-off
        except ConnectionClosed as closed:
            self.cuts.append(closed.rcvd.code if closed.rcvd else 1006)

    async def _read(self, connection: ClientConnection, events: list[dict[str, object]]) -> None:
        async for message in connection:
            now = time.monotonic()
            if events:
                self.pause = max(self.pause, now - self.heard)
            self.heard = now
            events.append(json.loads(message))
            if events[-1]["type"] in ENDINGS:
                return
        raise ConnectionClosed(connection.protocol.close_rcvd, connection.protocol.close_sent)

    def _create(self) -> dict[str, object]:
        # The key leads back to a response whose id was not told before the socket was closed.
        return {
            "type": "response.create",
            "input": self.prompt,
            "max_output_tokens": TOKENS,
            "keep": 0 if self.number % 2 else 30,
            "idempotency_key": f"{self.number}-{self.asked}",
        }

    @property
    def prompt(self) -> str:
        return f"client {self.number} asks this "

    @property
    def expected(self) -> str:
        words = self.prompt.split()
        return "".join(f"{words[n % len(words)]} " for n in range(TOKENS))


async def test_a_rolling_restart_of_both_tiers_under_load_is_seen_by_nobody(fleet: Fleet):
    over = asyncio.Event()
    readers = [Reader(fleet, number, random.Random(number)) for number in range(CLIENTS)]
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        for reader in readers:
            group.create_task(reader.read_until(over))
        await asyncio.sleep(1)  # load first
        for _ in range(2):
            await fleet.replace_gateway()
            await fleet.replace_worker()
        over.set()

    answers = [(reader, events) for reader in readers for events in reader.answers]
    assert len(answers) >= 2 * CLIENTS
    for reader, events in answers:
        assert [each["type"] for each in events if each["type"] in ENDINGS] == ["response.incomplete"]
        assert_contiguous(events)
        assert text_of(events) == reader.expected
        assert events[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    # Nobody waited for a lease to run out: hand-overs are at once.
    assert max(reader.pause for reader in readers) < Leases().lease - 1
    # The restarts did hit running answers, or nothing was proved.
    cuts = [code for reader in readers for code in reader.cuts]
    assert set(cuts) == {1012}
    assert len(cuts) >= 20
    assert sum(worker.count("released") for worker in fleet.stopped) >= 16
