"""Gateways and echo workers as processes on a real server, their logs, and a mixed load that leaves nothing out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from gateway_bench import text_of
from servers import free_port
from websockets.asyncio.client import ClientConnection, connect

PATIENCE = 120.0
TERMINAL = ("response.completed", "response.incomplete", "response.failed")
DELTA = "response.output_text.delta"


@dataclass
class Member:
    """One process; its log is what it wrote to both outputs."""

    tier: str
    process: psutil.Popen
    log: Path
    port: int
    probe: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def lines(self, response_id: str = "") -> list[dict]:
        """What it logged, of one response or at all."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if not response_id or line.get("response_id") == response_id]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=30)

    def drain(self) -> None:
        """Stop it in order, and return when it is gone."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=30)


@dataclass
class Watched:
    """A running fleet."""

    redis_url: str
    gateways: list[Member] = field(default_factory=list)
    workers: list[Member] = field(default_factory=list)

    @property
    def members(self) -> list[Member]:
        return [*self.gateways, *self.workers]

    @contextlib.asynccontextmanager
    async def socket(
        self, gateway: int = 0, query: str = "", **options: object
    ) -> AsyncIterator[ClientConnection]:
        url = f"ws://127.0.0.1:{self.gateways[gateway].port}/v1/responses{query}"
        async with connect(url, compression=None, **options) as connection:
            yield connection

    def post(self, path: str, body: bytes, gateway: int = 0) -> int:
        """Post and return the status."""
        request = urllib.request.Request(
            f"{self.gateways[gateway].url}{path}", body, {"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refusal:
            return refusal.code


def code_of(event: dict) -> str | None:
    """The code of an error event."""
    return event["error"]["code"] if event["type"] == "error" else None


async def asked(connection: ClientConnection, text: str = "one two three ", **fields: object) -> dict:
    """Ask for an answer, and return its first event."""
    message = {"type": "response.create", "model": "echo", "input": text, "max_output_tokens": 60, **fields}
    await connection.send(json.dumps(message))
    return json.loads(await connection.recv())


async def events(connection: ClientConnection, deltas: int = 10**9) -> list[dict]:
    """Read to the ending, or so many deltas."""
    seen: list[dict] = []
    async with asyncio.timeout(PATIENCE):
        while deltas and not (seen and seen[-1]["type"] in (*TERMINAL, "error")):
            seen.append(json.loads(await connection.recv()))
            deltas -= seen[-1]["type"] == DELTA
    return seen


def _spawn(stack: contextlib.ExitStack, tier: str, folder: Path, number: int, **environment: str) -> Member:
    log = folder / f"{tier}-{number}.log"
    probe, port = free_port(), free_port()
    settings = {"PROBE_PORT": str(probe), "PORT": str(port), **environment}
    with log.open("wb") as out:
        process = psutil.Popen(
            [sys.executable, "-m", tier], env={**os.environ, **settings}, stdout=out, stderr=out
        )
    stack.callback(_end, process)
    return Member(tier, process, log, port, probe)


def _end(process: psutil.Popen) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.terminate()
    process.wait(timeout=30)


@contextlib.asynccontextmanager
async def watched(redis_url: str, *, workers: int = 2, **settings: str) -> AsyncIterator[Watched]:
    """Run two gateways and workers until the block ends; all are ready when it begins."""
    common = {"REDIS_URL": redis_url, "LEASE_SECONDS": "1", "DRAIN_SECONDS": "1", **settings}
    echo = {"ENGINE": "echo", "MODEL_NAME": "echo", "SLOTS": "8", "RESERVE_SLOTS": "0", "ECHO_RATE": "100"}
    with tempfile.TemporaryDirectory(prefix="tw-watched-") as path, contextlib.ExitStack() as stack:
        folder, fleet = Path(path), Watched(redis_url)
        for number in range(workers):
            fleet.workers.append(_spawn(stack, "worker", folder, number, **(echo | common)))
        for number in range(2):
            fleet.gateways.append(_spawn(stack, "gateway", folder, number, WAITING_BOUND="8", **common))
        await asyncio.gather(*(_ready(member) for member in fleet.members))
        await _served(fleet)
        yield fleet


async def _ready(member: Member) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await asyncio.to_thread(_answers, f"http://127.0.0.1:{member.probe}/readyz"):
            assert member.process.poll() is None, member.log.read_text()
            await asyncio.sleep(0.05)  # a process that starts gives no other sign


async def _served(fleet: Watched) -> None:
    """Wait until every gateway has heard of a worker."""
    async with asyncio.timeout(PATIENCE):
        for gateway in fleet.gateways:
            while b'"echo"' not in await asyncio.to_thread(_served_by, gateway.url):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)  # as above


def _served_by(url: str) -> bytes:
    """The list of models; nothing while the door is not open yet."""
    try:
        return _read(f"{url}/v1/models")
    except OSError:
        return b""


def _answers(url: str) -> bool:
    try:
        return _read(url) is not None
    except OSError:
        return False


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return bytes(answer.read())


# ---- the load


async def mixed_load(fleet: Watched) -> None:
    """Do what users do, right and wrong, and kill a worker meanwhile."""
    slow = asyncio.create_task(_reads_nothing(fleet))
    await asyncio.gather(*(_reads_all(fleet, n % 2) for n in range(4)), _stops(fleet, 0), _stops(fleet, 1))
    await asyncio.gather(_resumes(fleet), _asks_wrongly(fleet), _page_reports(fleet))
    await _stops(fleet, 0)  # once more: what happened before the first scrape has no rate
    await _overloads(fleet)
    await _survives_a_worker(fleet)
    slow.cancel()
    await asyncio.wait([slow])


async def _reads_all(fleet: Watched, gateway: int) -> None:
    async with fleet.socket(gateway) as connection:
        await asked(connection)
        assert (await events(connection))[-1]["type"] == "response.incomplete"


async def _stops(fleet: Watched, gateway: int) -> None:
    async with fleet.socket(gateway) as connection:
        await asked(connection, max_output_tokens=2000)
        await events(connection, deltas=5)
        await connection.send(json.dumps({"type": "response.cancel"}))
        assert (await events(connection))[-1]["response"]["status"] == "cancelled"


async def _resumes(fleet: Watched) -> None:
    async with fleet.socket(0) as connection:
        first = await asked(connection, max_output_tokens=400)
        seen = [first, *await events(connection, deltas=20)][:-10]  # so that some of it must be replayed
        connection.transport.abort()
    response_id, last = first["response"]["id"], seen[-1]["sequence_number"]
    async with fleet.socket(1, f"?response_id={response_id}&starting_after={last}") as connection:
        seen += await events(connection)
    assert text_of(seen).split() == (["one", "two", "three"] * 134)[:400]
    async with fleet.socket(1, "?response_id=resp_000" + "0" * 32) as connection:
        assert code_of((await events(connection))[-1]) == "response_not_found"


async def _asks_wrongly(fleet: Watched) -> None:
    statuses = [
        await asyncio.to_thread(fleet.post, "/v1/responses", body)
        for body in (b"{", b'{"input": 5}', b'{"input": "x", "model": "another"}')
    ]
    assert statuses == [400, 400, 404]


async def _page_reports(fleet: Watched) -> None:
    report = json.dumps(
        {"ttft": [0.2, 0.3], "gaps": [0.01] * 20, "paints": [0.004] * 20, "resumes": 1}
    ).encode()
    for _ in range(3):
        assert await asyncio.to_thread(fleet.post, "/v1/page/times", report) == 204
        await asyncio.sleep(1.5)  # so that several scrapes see it grow


async def _overloads(fleet: Watched) -> None:
    """Fill all slots and the queue, and be refused."""
    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(fleet.socket(n % 2)) for n in range(32)]
        firsts = await asyncio.gather(*(asked(each, max_output_tokens=150) for each in sockets))
        assert "overloaded" in map(code_of, firsts)
        taken = [s for s, first in zip(sockets, firsts, strict=True) if first["type"] == "response.created"]
        await asyncio.gather(*(events(each) for each in taken))


async def _survives_a_worker(fleet: Watched) -> None:
    """Kill a worker under running answers: they go on at the other one."""
    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(fleet.socket(n % 2)) for n in range(6)]
        for each in sockets:
            await asked(each, max_output_tokens=400)
        seen = await asyncio.gather(*(events(each, deltas=20) for each in sockets))
        await asyncio.to_thread(fleet.workers[0].kill)
        rest = await asyncio.gather(*(events(each) for each in sockets))
    for begun, ended in zip(seen, rest, strict=True):
        assert len(text_of([*begun, *ended]).split()) == 400


async def _reads_nothing(fleet: Watched) -> None:
    """Ask for wide tokens, take none of them, and be cut."""
    narrow = socket.create_connection(("127.0.0.1", fleet.gateways[0].port))
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    async with fleet.socket(0, sock=narrow, max_queue=1) as connection:
        await asked(connection, "w" * 6000 + " " + "x" * 6000, max_output_tokens=3000, keep=0)
        connection.transport.pause_reading()
        await asyncio.Event().wait()


def one_life(members: Sequence[Member], response_id: str) -> list[dict]:
    """All lines about one response, by their time; lines of one process keep their order."""
    lines = [line for member in members for line in member.lines(response_id)]
    return sorted(lines, key=lambda line: line["ts"])
