"""Sends streams through a way and takes the times; judges nothing."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Origin

from tokenwire.doctor.findings import Answer, Paced

_PATIENCE = 30.0
_DELTA = "response.output_text.delta"
_TERMINAL = ("response.completed", "response.incomplete", "response.failed")
_PROMPT = "Say one two three four five, again and again."


@dataclass(frozen=True, slots=True)
class Way:
    """One base address, and the key to show there."""

    url: str
    key: str

    @property
    def host(self) -> str:
        """What a browser puts into Host."""
        return urlsplit(self.url).netloc

    @property
    def origin(self) -> str:
        """The origin of the gateway's own page."""
        return f"{urlsplit(self.url).scheme}://{self.host}"

    @property
    def socket(self) -> str:
        """Where the WebSocket is."""
        return self.url.replace("http", "ws", 1) + "/v1/responses"


def paced(way: Way, *, events: int = 10, interval_ms: int = 100) -> Paced:
    """Take a paced stream.  Blocks; raises OSError if nothing answers."""
    connection = _connection(way)
    try:
        path = f"/v1/diagnostics?events={events}&interval_ms={interval_ms}"
        connection.request("GET", _path(way, path), headers=_headers(way) | {"Accept-Encoding": "gzip"})
        address = connection.sock.getsockname()
        answer = connection.getresponse()
        names = {name.lower(): value for name, value in answer.getheaders()}
        told = Paced(answer.status, names, f"{address[0]}:{address[1]}")
        if answer.status != 200:
            return replace(told, code=_code(answer.read()))
        return _timed(told, _events(answer, names.get("content-encoding", "")))
    except http.client.HTTPException as problem:
        raise OSError(f"the answer is no HTTP: {type(problem).__name__}") from None
    finally:
        connection.close()


def _timed(told: Paced, events: Iterator[tuple[float, dict[str, object]]]) -> Paced:
    sent, came = [], []
    arrived: dict[str, str] | None = None
    peer = ""
    for at, event in events:
        sent.append(float(str(event["at"])))
        came.append(at)
        headers = event.get("headers")
        if isinstance(headers, dict):
            arrived, peer = headers, str(event["peer"])
    return replace(told, sent=sent, came=came, arrived=arrived, peer=peer)


def answered(way: Way, model: str, tokens: int) -> Answer:
    """Take an answer as server-sent events.  Blocks."""
    connection = _connection(way)
    body = {"model": model, "input": _PROMPT, "max_output_tokens": tokens, "stream": True, "temperature": 0}
    began = time.monotonic()
    try:
        connection.request("POST", _path(way, "/v1/responses"), json.dumps(body), _headers(way))
        reply = connection.getresponse()
        if reply.status != 200:
            return Answer(problem=f"{reply.status} {_code(reply.read())}".strip())
        told = Answer()
        for at, event in _events(reply, reply.getheader("content-encoding") or ""):
            told = _seen(told, str(event.get("type")), at - began)
        return told if told.last else Answer(problem="the stream ended early.")
    except (OSError, http.client.HTTPException) as problem:
        return Answer(problem=f"{type(problem).__name__}.")
    finally:
        connection.close()


def models(way: Way) -> list[str]:
    """Return the models that are served.  Blocks; raises OSError."""
    connection = _connection(way)
    try:
        connection.request("GET", _path(way, "/v1/models"), headers=_headers(way))
        answer = connection.getresponse()
        listed = json.loads(answer.read()).get("data", []) if answer.status == 200 else []
        return [str(each["id"]) for each in listed]
    except (http.client.HTTPException, ValueError) as problem:
        raise OSError(f"the answer is no list of models: {type(problem).__name__}") from None
    finally:
        connection.close()


@dataclass(frozen=True, slots=True)
class SocketTold:
    """What the WebSocket told."""

    status: int
    code: str = ""
    extensions: tuple[str, ...] = ()
    answer: Answer | None = None
    stop: float | None = None
    """Seconds until a Stop showed; None if it never did."""
    lived: float = 0.0
    """Seconds for which it was left alone in silence."""
    close_code: int | None = None


async def socket(way: Way, model: str | None, tokens: int, silence: float) -> SocketTold:
    """Open a socket, take an answer, stop another one, and then be silent."""
    try:
        async with _opened(way, "deflate") as connection:  # as browsers do; the rest goes on without
            told = SocketTold(101, extensions=tuple(e.name for e in connection.protocol.extensions))
        async with _opened(way, None) as connection:
            if model is not None:
                told = replace(told, answer=await _answer(connection, model, tokens))
                if not (told.answer and told.answer.problem):
                    told = replace(told, stop=await _stop(connection, model))
            lived = await _silent(connection, silence)
            return replace(told, lived=lived, close_code=connection.close_code)
    except InvalidStatus as refusal:
        return SocketTold(refusal.response.status_code, _code(refusal.response.body))
    except (InvalidHandshake, OSError, TimeoutError, ConnectionClosed, EOFError):
        return SocketTold(0)


def _opened(way: Way, compression: str | None) -> connect:
    return connect(
        way.socket,
        compression=compression,
        origin=Origin(way.origin),
        additional_headers={"Authorization": f"Bearer {way.key}"},
        ping_interval=None,
        open_timeout=10,
        close_timeout=2,
    )


async def _answer(connection: ClientConnection, model: str, tokens: int) -> Answer:
    began = time.monotonic()
    told = Answer()
    await connection.send(_create(model, tokens))
    try:
        async with asyncio.timeout(_PATIENCE):
            while not told.last:
                event = json.loads(await connection.recv())
                if event["type"] == "error":
                    return Answer(problem=f"{event['error']['code']}.")
                told = _seen(told, event["type"], time.monotonic() - began)
    except TimeoutError:
        return Answer(problem=f"it was not whole after {_PATIENCE:g} s.")
    except ConnectionClosed as closed:
        return Answer(problem=f"the socket was closed ({closed.rcvd.code if closed.rcvd else 'cut'}).")
    return told


async def _stop(connection: ClientConnection, model: str) -> float | None:
    await connection.send(_create(model, 2000))
    asked: float | None = None
    with suppress(TimeoutError, ConnectionClosed):
        async with asyncio.timeout(10):
            while True:
                event = json.loads(await connection.recv())
                if event["type"] in _TERMINAL or event["type"] == "error":
                    return 0.0 if asked is None else time.monotonic() - asked
                if asked is None and event["type"] == _DELTA:
                    asked = time.monotonic()
                    await connection.send('{"type": "response.cancel"}')
    return None


async def _silent(connection: ClientConnection, seconds: float) -> float:
    """Return how long the socket was left alone, at most ``seconds``."""
    began = time.monotonic()
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await connection.wait_closed()
            return time.monotonic() - began
    return seconds


def _create(model: str, tokens: int) -> str:
    asked = {"type": "response.create", "model": model, "input": _PROMPT, "max_output_tokens": tokens}
    return json.dumps({**asked, "temperature": 0, "keep": 0})


def _seen(told: Answer, kind: str, at: float) -> Answer:
    """Take one event into an answer."""
    if kind == "response.created":
        return replace(told, created=at)
    if kind == _DELTA:
        return replace(told, first=at if told.first is None else told.first, deltas=told.deltas + 1)
    return replace(told, last=at) if kind in _TERMINAL else told


def _events(answer: http.client.HTTPResponse, encoding: str) -> Iterator[tuple[float, dict[str, object]]]:
    """Yield each event's data with the time at which its last byte came."""
    unpack = zlib.decompressobj(47) if encoding else None  # gzip or zlib, whichever it is
    waiting = b""
    with suppress(http.client.IncompleteRead):
        while raw := answer.read1(65536):
            at = time.monotonic()
            waiting += unpack.decompress(raw) if unpack is not None else raw
            *whole, waiting = waiting.split(b"\n\n")
            for block in whole:
                data = b"".join(line[5:].strip() for line in block.split(b"\n") if line.startswith(b"data:"))
                if data and data != b"[DONE]":
                    yield at, json.loads(data)


def _connection(way: Way) -> http.client.HTTPConnection:
    parts = urlsplit(way.url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=_PATIENCE)


def _path(way: Way, path: str) -> str:
    return urlsplit(way.url).path.rstrip("/") + path


def _headers(way: Way) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {way.key}",
        "Content-Type": "application/json",
        "Origin": way.origin,
        "User-Agent": "tokenwire-doctor",
    }


def _code(body: bytes | bytearray | None) -> str:
    """Return the code of an error's body, if it is one of ours."""
    try:
        return str(json.loads(body or b"{}")["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return ""
