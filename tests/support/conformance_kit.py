"""A client for the conformance suite: raw frames, each event held against the published schema."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx
from jsonschema import Draft202012Validator
from websockets.asyncio.client import ClientConnection, connect

from tokenwire.client.wire import socket_url

DOCS = Path(__file__).parents[2] / "docs"
SCHEMA = json.loads((DOCS / "protocol.schema.json").read_text())
REFUSALS = json.loads((DOCS / "vectors/refusals.json").read_text())
TERMINAL = ("response.completed", "response.incomplete", "response.failed")
DELTA = "response.output_text.delta"
NOBODY = "resp_000" + "0" * 32
PATIENCE = 30.0
PROMPT = "one two three four five six seven "

_VALIDATORS = {
    name: Draft202012Validator({**SCHEMA, "$ref": f"#/$defs/{name}"})
    for name in ("server_event", "http_error", "sse_error", "response", *SCHEMA["$defs"])
}

Event = dict[str, Any]


def described(name: str, value: object) -> None:
    """Check a value against a definition of the published schema."""
    _VALIDATORS[name].validate(value)


def described_event(event: Event) -> None:
    """Check an event against the definition of its type."""
    described(event["type"], event)


@dataclass
class Socket:
    """One WebSocket, and all events that came on it."""

    connection: ClientConnection
    asked: Event = field(default_factory=dict)
    """What every create asks for, if it says nothing else."""
    seen: list[Event] = field(default_factory=list)

    async def send(self, kind: str = "", **fields: object) -> None:
        await self.connection.send(json.dumps({"type": kind, **fields}))

    async def create(self, tokens: int = 8, **fields: object) -> None:
        await self.send("response.create", **(self.asked | {"max_output_tokens": tokens} | fields))

    async def event(self) -> Event:
        async with asyncio.timeout(PATIENCE):
            event = json.loads(await self.connection.recv())
        described_event(event)
        self.seen.append(event)
        return event

    async def until(self, *kinds: str, lane: str | None = None) -> list[Event]:
        """Read up to and including an event of these types on the lane; return the lane's events."""
        events: list[Event] = []
        while not events or events[-1]["type"] not in kinds:
            event = await self.event()
            if event.get("stream_id") == lane:
                events.append(event)
        return events

    async def whole(self, tokens: int = 8, **fields: object) -> list[Event]:
        """Ask, and return all events."""
        await self.create(tokens, **fields)
        return await self.until(*TERMINAL, "error", lane=fields.get("stream_id"))

    async def refused(self, lane: str | None = None) -> Event:
        """Return the next event on the lane, which is an error."""
        (event,) = await self.until("error", lane=lane)
        return event

    async def close_code(self) -> int:
        async with asyncio.timeout(PATIENCE):
            await self.connection.wait_closed()
        return self.connection.close_code


@dataclass
class Target:
    """The gateway to be held against the protocol."""

    base_url: str
    api_key: str | None
    model: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.api_key is None else {"Authorization": f"Bearer {self.api_key}"}

    @property
    def asked(self) -> Event:
        """Return what every request of the suite asks for, if it says nothing else."""
        model = {} if self.model is None else {"model": self.model}
        return {"input": PROMPT, "max_output_tokens": 6, "temperature": 0, **model}

    def url(self, query: str = "") -> str:
        return socket_url(self.base_url) + query

    @contextlib.asynccontextmanager
    async def socket(self, query: str = "", **options: object) -> AsyncIterator[Socket]:
        headers = {**self.headers, **options.pop("headers", {})}
        async with connect(
            self.url(query),
            additional_headers=headers,
            compression=None,
            max_size=None,
            proxy=None,
            **options,
        ) as connection:
            yield Socket(connection, self.asked)

    @contextlib.asynccontextmanager
    async def http(self) -> AsyncIterator[httpx.AsyncClient]:
        root = self.base_url.rstrip("/").removesuffix("/v1")
        async with httpx.AsyncClient(
            base_url=root, headers=self.headers, timeout=PATIENCE, trust_env=False
        ) as client:
            yield client

    async def stored(self, response_id: str) -> dict[str, Any]:
        """Return the response as the log has it."""
        async with self.http() as http:
            answer = await http.get(f"/v1/responses/{response_id}")
            assert answer.status_code == 200, answer.text
            described("response", answer.json())
            return answer.json()


@dataclass
class SseEvent:
    """One server-sent event as it came."""

    name: str
    number: str | None
    data: Event


async def sse(answer: httpx.Response) -> AsyncIterator[SseEvent]:
    """Read server-sent events; comments are passed over."""
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            data = json.loads(fields["data"])
            described("sse_error" if data["type"] == "error" else data["type"], data)
            yield SseEvent(fields.get("event", ""), fields.get("id"), data)
            fields = {}


async def streamed(http: httpx.AsyncClient, method: str, path: str, **options: object) -> list[SseEvent]:
    """Read a whole stream."""
    async with http.stream(method, path, **options) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        return [event async for event in sse(answer)]


def text_of(events: Sequence[Event]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == DELTA)


def id_of(events: Sequence[Event]) -> str:
    """Return the response's id from any of its events that names it."""
    return next(event["response"]["id"] for event in events if "response" in event)


def contiguous(events: Sequence[Event], first: int = 0) -> None:
    """Check that each event begins where the one before ended."""
    at = first
    for event in events:
        assert event.get("first_sequence_number", event["sequence_number"]) == at, events
        at = event["sequence_number"] + 1


def orderly(events: Sequence[Event]) -> None:
    """Check a whole response: order, numbers, one ending, and one text in all places that hold it."""
    contiguous(events)
    kinds = [event["type"] for event in events]
    started = "response.in_progress" in kinds
    deltas = [kind for kind in kinds if kind == DELTA]
    prologue = ["response.in_progress", "response.output_item.added", "response.content_part.added"]
    closing = ["response.output_text.done", "response.content_part.done", "response.output_item.done"]
    expected = ["response.created", *(prologue if started else []), *deltas, *(closing if started else [])]
    assert kinds[:-1] == expected
    assert kinds[-1] in TERMINAL
    final = events[-1]["response"]
    assert all(final["usage"][name] >= 0 for name in ("input_tokens", "output_tokens", "total_tokens"))
    if started:
        told = [events[-4]["text"], events[-3]["part"]["text"], final["output"][0]["content"][0]["text"]]
        assert told == [text_of(events)] * 3
        assert len({event["item_id"] for event in events if "item_id" in event}) == 1
    assert len({event["response"]["id"] for event in events if "response" in event}) == 1
    epochs = [event["epoch"] for event in events]
    assert epochs == sorted(epochs)
