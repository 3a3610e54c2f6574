"""One run of real processes under a kill: the books equal the logs, and no line of any process tells what was said."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2 as httpx
import pytest
from credentials import AUDIENCE, ISSUER, bearer, jwk, token
from running import running_up
from websockets.asyncio.client import connect as dial

from gateway.response import snapshot
from shared.log import Kind
from shared.store.contract import Followed
from shared.store.gateway import RedisGatewayStore
from shared.store.ledger import Ledger, Usage
from shared.store.link import Link

MARK = "xylophone7731"
PROMPT = f"{MARK} says quartz8842 to nobody "
KEYS = {"alice": "alice-key-of-this-test-only", "bob": "bob-key-of-this-test-only"}
TOKEN = token("carol", exp=int(time.time()) + 3600)
EXPIRED = token("carol", exp=int(time.time()) - 3600)
CREDENTIALS = KEYS | {"jwt:carol": TOKEN}
"""By principal."""
SECRETS = (*CREDENTIALS.values(), EXPIRED)
TERMINAL = ("response.completed", "response.incomplete", "response.failed")
ORIGIN = "https://chat.example"
PATIENCE = 60.0


@dataclass
class Run:
    """What a run has left."""

    url: str
    redis_url: str
    folder: Path
    ids: dict[str, str] = field(default_factory=dict)
    """Response id -> principal."""
    tickets: list[str] = field(default_factory=list)
    fates: list[str] = field(default_factory=list)


class Caller:
    """One client with one response and a fate."""

    def __init__(self, run: Run, principal: str, fate: str) -> None:
        self.run, self.principal, self.fate = run, principal, fate
        self.deltas = 0
        self.begun = asyncio.Event()

    async def call(self, killed: asyncio.Event) -> None:
        address = self.run.url.replace("http", "ws") + "/v1/responses"
        async with dial(address, compression=None, **await self._credential()) as socket:
            body = {"model": "echo", "input": PROMPT, "max_output_tokens": 120, "metadata": {"note": MARK}}
            await socket.send(json.dumps({"type": "response.create", "keep": 0.0, **body}))
            async for raw in socket:
                event = json.loads(raw)
                if event["type"] == "response.created":
                    self.run.ids[event["response"]["id"]] = self.principal
                if event["type"].endswith("delta"):
                    self.deltas += 1
                    if self.deltas == 3:
                        self.begun.set()
                        await killed.wait()
                        if self.fate == "left":
                            return
                        if self.fate == "cancelled":
                            await socket.send(json.dumps({"type": "response.cancel"}))
                if event["type"] in TERMINAL:
                    self.begun.set()
                    return

    async def _credential(self) -> dict[str, object]:
        headers = bearer(CREDENTIALS[self.principal])
        if self.fate != "ticket":
            return {"additional_headers": headers}
        async with httpx.AsyncClient(base_url=self.run.url) as http:
            answer = await http.post("/v1/ws-tickets", headers=headers | {"Origin": ORIGIN})
        ticket = answer.json()["ticket"]
        self.run.tickets.append(ticket)
        return {"origin": ORIGIN, "subprotocols": ["tokenwire.v1", f"tokenwire.ticket.{ticket}"]}


@contextlib.asynccontextmanager
async def ran(redis_url: str, port: int, folder: Path) -> AsyncIterator[Run]:
    """Run gateways and workers, kill a worker under running responses, and wait for every ending."""
    jwks = folder / "jwks.json"
    jwks.write_text(json.dumps({"keys": [jwk("rsa")]}))
    settings = {
        "REDIS_URL": redis_url,
        "ENGINE": "echo",
        "ECHO_RATE": "40",
        "WORKERS": "2",
        "GATEWAYS": "2",
        "LEASE_SECONDS": "3",
        "AUTH": "keys,jwt",
        "JWT_ISSUER": ISSUER,
        "JWT_AUDIENCE": AUDIENCE,
        "JWT_JWKS": str(jwks),
        "API_KEYS": ",".join(f"{name}:{key}" for name, key in KEYS.items()),
        "ORIGINS": ORIGIN,
        "CACHE_DIR": str(folder),
    }
    async with running_up(port, **settings) as up:
        run = Run(up.url, redis_url, folder)
        fates = ["whole"] * 5 + ["ticket"] * 2 + ["cancelled"] * 3 + ["left"] * 2
        callers = [Caller(run, name, fate) for name in CREDENTIALS for fate in fates]
        killed = asyncio.Event()
        calls = [asyncio.create_task(caller.call(killed)) for caller in callers]
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(caller.begun.wait() for caller in callers))
            up.kill("worker-1")
            killed.set()
            await asyncio.gather(*calls)
        async with httpx.AsyncClient(base_url=run.url) as http:
            await http.get(f"/v1/models?api_key={KEYS['bob']}", headers=bearer("wrong-" + MARK))
            refused = await http.get("/v1/models", headers=bearer(EXPIRED))
            assert refused.status_code == 401
            await http.post(
                "/v1/responses", headers=bearer(KEYS["bob"]), json={"input": MARK, "tools": [MARK]}
            )
        run.fates = fates
        yield run


@pytest.fixture
async def run(valkey, free_port, tmp_path):
    link = Link.to(valkey)
    await link.command("FLUSHALL")
    await link.close()
    async with ran(valkey, free_port, tmp_path) as made:
        yield made


async def logs_of(run: Run, link: Link) -> list[Followed]:
    """Wait until every response has ended, also those that everybody left."""
    store = RedisGatewayStore(link, name="test")
    async with asyncio.timeout(PATIENCE):
        while True:
            logs = [
                await store.follow(response_id, principal, None, -1, None)
                for response_id, principal in run.ids.items()
            ]
            assert all(isinstance(log, Followed) for log in logs), logs
            if all(log.status.terminal for log in logs):
                return logs
            await asyncio.sleep(0.1)


async def test_the_books_equal_the_logs_and_no_log_line_tells_what_was_said(run):
    link = Link.to(run.redis_url)
    try:
        logs = await logs_of(run, link)
        assert len(logs) == len(CREDENTIALS) * len(run.fates)
        handed = [log for log in logs if any(entry.kind is Kind.HANDED for entry in log.entries)]
        assert handed, "the kill hit nobody: this run proves nothing"
        books = await Ledger(link).usage([int(time.time()) // 86_400 - day for day in (0, 1)])
        books.pop("tokenwire-up")  # the command's own first token
        assert books == summed(logs)
        assert all(
            sum(getattr(usage, how) for usage in books.values()) for how in ("cancelled", "incomplete")
        )
        tell_nothing(run)
        await nothing_is_left_after_deletion(run, link)
    finally:
        await link.close()


def summed(logs: list[Followed]) -> dict[str, Usage]:
    """Count what the logs say."""
    total: dict[str, Usage] = {}
    for log in logs:
        told, usage = snapshot(log.entries), total.setdefault(log.request.principal, Usage())
        usage.prompt += told.prompt_tokens
        usage.cached += told.cached_tokens
        usage.generated += told.generated_tokens
        usage.delivered += sum(len(entry.ids) for entry in log.entries if entry.kind is Kind.DELTA)
        setattr(usage, told.status.value, getattr(usage, told.status.value) + 1)
    return total


def tell_nothing(run: Run) -> None:
    """Look into every line that the processes have written."""
    files = [path for path in run.folder.rglob("*") if path.is_file() and "run" in path.parts]
    written = b"".join(path.read_bytes() for path in files).decode()
    assert next(iter(run.ids)) in written, "these are not the logs of this run"
    assert "credential_refused" in written
    for word in (MARK, "quartz8842", "nobody", *SECRETS, *run.tickets):
        assert word not in written, f"a log line tells {word!r}"
    assert len(run.tickets) == 2 * len(CREDENTIALS)


async def everything_in(link: Link) -> dict[bytes, bytes]:
    """All keys with all that they hold, as the server would write it to disk."""
    return {key: await link.command("DUMP", key) or b"" for key in await link.command("KEYS", "*")}


async def nothing_is_left_after_deletion(run: Run, link: Link) -> None:
    """Delete every response: no text, key or ticket is left in the store, and none was in a key's name."""
    before = await everything_in(link)
    assert any(MARK.encode() in value for value in before.values()), "what is looked for can be found"
    assert not any(MARK.encode() in key for key in before)
    async with httpx.AsyncClient(base_url=run.url) as http:
        for response_id, principal in run.ids.items():
            answer = await http.delete(f"/v1/responses/{response_id}", headers=bearer(CREDENTIALS[principal]))
            assert answer.status_code == 200
    after = await everything_in(link)
    secrets = [MARK, "quartz8842", *SECRETS, *run.tickets]
    for key, value in after.items():
        for secret in secrets:
            assert secret.encode() not in key + value, key
