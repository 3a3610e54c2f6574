"""What is there when all clients have gone: the logs, and whatever should not be there any more."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from pathlib import Path

from shared.log import Entry, Kind, Status
from shared.store import keys
from shared.store.codec import decode_entry, text_of
from shared.store.connect import connect
from tokenwire.audit.findings import Promise, Violation

_PERMANENT = re.compile(r"\{p\d+\}(q|t):")
"""Keys without a TTL, on purpose: the queue of a model and its last run times (shared/store/keys.py)."""
_AT_REST = {
    "tokenwire_connections": "sockets",
    "tokenwire_attachments": "attachments",
    "tokenwire_outbox_bytes": "bytes in outboxes",
    "tokenwire_engine_sequences_running": "running sequences",
    "tokenwire_engine_sequences_waiting": "waiting sequences",
}
"""Gauges that are 0 when nobody is there."""
_BATCH = 64


class Remains:
    """Looks into the server, beside all that is audited."""

    def __init__(self, url: str, model: str, partitions: int = 1) -> None:
        self._server = connect(url)
        self._model = model
        models = [keys.of_model(partition, model) for partition in range(partitions)]
        self._queues = [queue for queue, _, _ in models]
        self._waiting = [waiting for _, waiting, _ in models]
        self._deadlines = [keys.deadlines(partition) for partition in range(partitions)]

    async def close(self) -> None:
        """End the link."""
        await self._server.close()

    async def waiting(self) -> int:
        """Count the requests that wait for a worker.  Raises StoreUnavailable."""
        return await self._sum("ZCARD", self._waiting)

    async def running(self) -> int:
        """Count the responses that have not ended."""
        return await self._sum("ZCARD", self._deadlines)

    async def _sum(self, command: str, names: Sequence[str]) -> int:
        return sum(map(int, await asyncio.gather(*(self._server.command(command, name) for name in names))))

    async def logs(self, response_ids: Sequence[str]) -> AsyncIterator[tuple[str, list[Entry]]]:
        """Yield each response's log; an empty one is gone."""
        for start in range(0, len(response_ids), _BATCH):
            batch = response_ids[start : start + _BATCH]
            names = [keys.of_response(response_id).log for response_id in batch]
            asked = (self._server.command("XRANGE", name, "-", "+") for name in names)
            replies = await asyncio.gather(*asked)
            for response_id, reply in zip(batch, replies, strict=True):
                yield response_id, list(map(decode_entry, reply))

    async def rested(self, seconds: float) -> None:
        """Wait until no response runs and the queue is empty, at most so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not await self.running() and not await self._queued():
                return
            await asyncio.sleep(0.1)

    async def _queued(self) -> int:
        return await self._sum("XLEN", self._queues)

    async def response_ids(self) -> list[str]:
        """Return all responses that were ever accepted, also those whose askers never learnt of them."""
        names = [name async for name in self._scan("{p*}r:*")]
        return [name.partition("r:")[2] for name in names]

    async def left_over(self) -> list[Violation]:
        """Find what should not be there: unended responses, keys without TTL, entries in the queue."""
        found = [violation async for violation in self._left_keys()]
        queued = await self._queued()
        if queued:
            found.append(_left(f"{queued} entries in the queue of {self._model}"))
        waiting, running = await self.waiting(), await self.running()
        if waiting or running:
            found.append(_left(f"{waiting} waiting and {running} unended responses"))
        return found

    async def _left_keys(self) -> AsyncIterator[Violation]:
        names = [name async for name in self._scan("*")]
        for start in range(0, len(names), 512):
            batch = names[start : start + 512]
            lives = await asyncio.gather(*(self._server.command("PTTL", name) for name in batch))
            for name, life in zip(batch, lives, strict=True):
                if int(life) == -1 and not _PERMANENT.match(name):
                    yield _left(f"{name} has no TTL")
                elif "r:" in name:
                    status = text_of(await self._server.command("HGET", name, "status"))
                    if not Status(status).terminal:
                        yield Violation(
                            Promise.ONE_ENDING, "no ending", name.partition("r:")[2], f"it is {status}"
                        )

    async def _scan(self, pattern: str) -> AsyncIterator[str]:
        for link in await self._server.primaries():
            cursor = ""
            while cursor != "0":
                cursor, names = await link.command("SCAN", cursor or "0", "MATCH", pattern, "COUNT", "1000")
                for name in names:
                    yield text_of(name)
                cursor = text_of(cursor)


def claimed_unstarted(log: Sequence[Entry], response_id: str, claimed: frozenset[str]) -> list[Violation]:
    """Find a response that ended while it waited and reached a worker nevertheless."""
    ended_queued = bool(log) and log[-1].kind is Kind.ENDED and log[-1].covers == 1
    if ended_queued and response_id in claimed:
        return [Violation(Promise.STOP, "stopped while queued, computed nevertheless", response_id)]
    return []


class WorkerLogs:
    """What the workers' own log lines say."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.freed: dict[str, float] = {}
        """When a worker let go of a response that somebody else had ended."""
        claimed: set[str] = set()
        for path in paths:
            for line in path.read_text(errors="replace").splitlines():
                self._take(line, claimed)
        self.claimed = frozenset(claimed)

    def _take(self, line: str, claimed: set[str]) -> None:
        if '"claim' not in line:
            return
        try:
            entry = json.loads(line)
        except ValueError:  # the process was killed while it wrote the line
            return
        if entry.get("event") == "claimed":
            claimed.add(entry["response_id"])
        elif entry.get("event") == "claim_lost" and entry.get("standing") == "ended":
            self.freed[entry["response_id"]] = datetime.fromisoformat(entry["ts"]).timestamp()


async def unrested(ports: dict[str, int], seconds: float) -> list[Violation]:
    """Wait until every process says that it holds nothing, at most so long; return what is left."""
    deadline = time.monotonic() + seconds
    while True:
        found = [
            _left(f"{name} holds {value:g} {_AT_REST[gauge]}")
            for name, port in ports.items()
            for gauge, value in (await _gauges(port)).items()
            if value
        ]
        if not found or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.2)


async def _gauges(port: int) -> dict[str, float]:
    """Read the gauges that must be 0 at rest, summed over their labels."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        text = (await reader.read()).decode()
    finally:
        writer.close()
        await writer.wait_closed()
    return gauges(text)


def gauges(text: str) -> dict[str, float]:
    """Return the gauges that must be 0 at rest from a page of metrics, summed over their labels."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        name = re.split(r"[{ ]", line, maxsplit=1)[0]
        if name in _AT_REST:
            found[name] = found.get(name, 0.0) + float(line.rsplit(" ", 1)[1])
    return found


def _left(detail: str) -> Violation:
    return Violation(Promise.NOTHING_LEFT, "left over", "-", detail)
