"""An OpenAI-compatible server that does what a test says, over real HTTP, and a stepper that asks it.

It says the last user message again, word by word, for ever from the start; behind the beginning of an answer it
goes on.  A raw prompt of n words is answered by n, n + 1, ...  A fault is used up by one request.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial

from worker.detokenizer import StopStrings
from worker.engines.contract import Admit, Event, Order, Stats
from worker.engines.openai.engine import OpenAIEngine
from worker.engines.options import UpstreamOptions

PATIENCE = 20.0
PATHS = ("/v1/chat/completions", "/v1/completions")


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request."""

    status: int = 0
    body: bytes = b""
    kind: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    after: int | None = None
    """Tokens after which it happens: the connection is cut, or ``say`` is said."""
    say: bytes = b""
    hang: bool = False
    """Nothing more is said, and the connection stays."""
    text: str = ""
    """Said instead of the answer."""
    ends: str = ""
    """What comes behind the chunk that says why the answer ends: ``silence``, or a ``cut`` of the connection."""


@dataclass
class Asked:
    """One request as the server saw it."""

    path: str
    headers: dict[str, str]
    body: dict
    sent: int = 0
    """Tokens sent."""
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """The client closed the connection before the end."""


@dataclass
class Upstream:
    """The server; it listens within ``async with serving(...)``."""

    model: str = "parrot"
    owner: str = "vllm"
    context: int = 256
    pause: float = 0.001
    """Seconds between tokens."""
    key: str = ""
    scores: bool = True
    faults: deque[Fault] = field(default_factory=deque)
    asked: list[Asked] = field(default_factory=list)
    port: int = 0
    open: dict[asyncio.Task, asyncio.StreamWriter] = field(default_factory=dict)
    models_status: int = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open[asyncio.current_task()] = writer
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left
        finally:
            del self.open[asyncio.current_task()]
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {
            name.lower(): value.strip() for name, _, value in (h.partition(":") for h in head[1:] if h)
        }
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        if self.key and headers.get("authorization") != f"Bearer {self.key}":
            await self._say(writer, 401, _error(f"Incorrect API key provided: {self.key}"))
        elif (method, path) == ("GET", "/v1/models"):
            await self._say(writer, self.models_status, self._models())
        elif method == "POST" and path in PATHS:
            asked = Asked(path, headers, json.loads(raw))
            self.asked.append(asked)
            await self._serve(asked, reader, writer)
        else:
            await self._say(writer, 404, _error("no such path"))

    def _models(self) -> bytes:
        entry = {"id": self.model, "object": "model", "owned_by": self.owner, "max_model_len": self.context}
        return json.dumps({"object": "list", "data": [entry]}).encode()

    async def _serve(self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = self.faults.popleft() if self.faults else Fault()
        refusal = self._refusal(asked.body)
        if fault.status:
            await self._say(writer, fault.status, fault.body, fault.kind, fault.headers)
            return
        if refusal:
            await self._say(writer, 400, _error(refusal))
            return
        length = b"Content-Length: 999999\r\n" if fault.ends == "cut" else b""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%b" % length)
        writer.write(b"Connection: close\r\n\r\n")
        leaving = asyncio.ensure_future(reader.read(1))
        leaving.add_done_callback(lambda _: asked.left.set())
        try:
            await self._stream(asked, writer, fault)
        finally:
            leaving.cancel()

    async def _stream(self, asked: Asked, writer: asyncio.StreamWriter, fault: Fault) -> None:
        async for datum in self._data(asked, fault):
            if asked.left.is_set():
                return
            writer.write(b"data: %b\n\n" % datum)
            await writer.drain()
            await asyncio.sleep(self.pause)
        if fault.hang or fault.ends == "silence":
            await asked.left.wait()

    async def _data(self, asked: Asked, fault: Fault) -> AsyncIterator[bytes]:
        body, counts = asked.body, bool(asked.body["stream_options"].get("continuous_usage_stats"))
        stops = StopStrings(body.get("stop", ()))
        prompt, limit = self._prompt_tokens(body), body["max_tokens"]
        yield json.dumps(_chunk(asked.path, "", role="assistant")).encode()
        for n, token in itertools.islice(self._tokens(body, fault), limit):
            if fault.after == asked.sent:
                if fault.say:
                    yield fault.say
                return
            asked.sent += 1
            shown = stops.feed(token) + (stops.flush() if asked.sent == limit and not stops.met else "")
            chunk = _chunk(asked.path, shown)
            if body.get("logprobs") and self.scores:
                chunk["choices"][0]["logprobs"] = {"content": [_score(token, n, body.get("top_logprobs", 0))]}
            if counts:
                chunk["usage"] = _usage(prompt, asked.sent)
            if stops.met:
                chunk["choices"][0]["finish_reason"] = "stop"
            yield json.dumps(chunk).encode()
            if stops.met:
                break
        if not stops.met:
            yield json.dumps(_chunk(asked.path, "", reason="length")).encode()
        if fault.ends:
            return
        yield json.dumps({"choices": [], "usage": _usage(prompt, asked.sent)}).encode()
        yield b"[DONE]"

    @staticmethod
    def _tokens(body: dict, fault: Fault):
        """Return the tokens from where the answer goes on, each with its number."""
        if "prompt" in body:
            begin = len(body["prompt"].split())
            return ((n, f" {n}") for n in itertools.count(begin))
        messages = body["messages"]
        begun = messages[-1]["content"] if body.get("continue_final_message") else ""
        user = fault.text or next(m["content"] for m in reversed(messages) if m["role"] == "user")
        whole = f"{user.strip()} " * (2 + (len(begun) + 10 * body["max_tokens"]) // (len(user) + 1))
        rest = re.findall(r"\s*\S+", whole[len(begun) :])
        return enumerate(rest, len(re.findall(r"\s*\S+", whole[: len(begun)])))

    @staticmethod
    def _prompt_tokens(body: dict) -> int:
        texts = [body["prompt"]] if "prompt" in body else [m["content"] for m in body["messages"]]
        return sum(len(text.split()) for text in texts)

    def _refusal(self, body: dict) -> str:
        prompt, limit = self._prompt_tokens(body), body["max_tokens"]
        window = f"This model's maximum context length is {self.context} tokens"
        if prompt >= self.context:
            return f"{window}. However, your request has {prompt} input tokens. Please reduce the length."
        if prompt + limit > self.context:
            return f"'max_tokens' is too large: {limit}. {window} and your request has {prompt} input tokens."
        return ""

    @staticmethod
    async def _say(writer, status, body, kind="application/json", headers=()) -> None:
        lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers]
        writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode() + body)
        await writer.drain()


def _chunk(path: str, text: str, role: str = "", reason: str | None = None) -> dict:
    delta = {"role": role, "content": text} if role else {"content": text}
    said = {"delta": delta} if "chat" in path else {"text": text}
    return {"id": "c", "object": "chunk", "choices": [{"index": 0, **said, "finish_reason": reason}]}


def _usage(prompt: int, generated: int) -> dict:
    details = {"cached_tokens": prompt // 2}
    return {"prompt_tokens": prompt, "completion_tokens": generated, "prompt_tokens_details": details}


def _score(token: str, n: int, top: int) -> dict:
    own = {"token": token, "logprob": -(1 + n % 7) / 8, "bytes": list(token.encode())}
    others = [{"token": f"x{rank}", "logprob": own["logprob"] - rank, "bytes": None} for rank in range(top)]
    return own | {"top_logprobs": others}


def _error(sentence: str) -> bytes:
    return json.dumps({"error": {"message": sentence, "type": "BadRequestError", "code": 400}}).encode()


@contextlib.asynccontextmanager
async def serving(upstream: Upstream | None = None) -> AsyncIterator[Upstream]:
    """Listen on a free port of loopback, the same one as before if it has had one."""
    made = upstream or Upstream()
    server = await asyncio.start_server(made.handle, "127.0.0.1", made.port)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for writer in made.open.values():
            writer.transport.abort()
        await asyncio.gather(*made.open)


def upstream_options(*upstreams: Upstream, **options) -> UpstreamOptions:
    urls = ",".join(upstream.url for upstream in upstreams)
    few = {"slots": 3, "silence_seconds": 10.0, "retry_seconds": 10.0}
    return UpstreamOptions(**{"urls": urls, **few, **options})


class Asking:
    """The engine with its upstream on a loop of their own, as a stepper: a step lasts until something is said."""

    def __init__(self, **options) -> None:
        self._loop = asyncio.new_event_loop()
        self._stack = contextlib.AsyncExitStack()
        self._batches: deque[list[Event]] = deque()
        self._said = asyncio.Event()
        self._loop.run_until_complete(self._start(options))
        self.info = self.engine.info

    async def _start(self, options) -> None:
        self.upstream = await self._stack.enter_async_context(serving())
        self.engine = OpenAIEngine(upstream_options(self.upstream, **options))
        await self.engine.start(self._on_step)

    def _on_step(self, events) -> None:
        self._batches.append(list(events))
        self._said.set()

    @property
    def busy(self) -> bool:
        stats = self.engine.stats()
        return bool(self._batches or stats.running or stats.waiting or self.engine._news)

    def prepare(self, order: Order) -> Admit:
        return partial(self._submit, order)

    def _submit(self, order: Order) -> None:
        self.cancel(order.response_id)
        self._loop.run_until_complete(self._call(self.engine.submit, order))

    def cancel(self, response_id: str) -> None:
        self._loop.run_until_complete(self._call(self.engine.cancel, response_id))
        left = ([e for e in batch if e.response_id != response_id] for batch in self._batches)
        self._batches = deque(batch for batch in left if batch)

    def step(self) -> list[Event]:
        if not self._batches:
            self._loop.run_until_complete(self._wait())
        return self._batches.popleft() if self._batches else []

    def stats(self) -> Stats:
        return self.engine.stats()

    def close(self) -> None:
        if not self._loop.is_closed():
            self._loop.run_until_complete(self._close())
            self._loop.close()

    async def _wait(self) -> None:
        self._said.clear()
        async with asyncio.timeout(PATIENCE):
            await self._said.wait()

    async def _close(self) -> None:
        await self.engine.close()
        await self._stack.aclose()
        await self._loop.shutdown_asyncgens()

    @staticmethod
    async def _call(function, *arguments) -> None:
        function(*arguments)
