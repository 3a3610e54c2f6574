"""Bad input of many kinds, each with the refusal that docs/protocol.md promises for it."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from raw_wire import BINARY, CLOSE, PING, frame, upgrade

NOBODY = "resp_000" + "0" * 32
VECTORS = json.loads((Path(__file__).parents[2] / "docs/vectors/refusals.json").read_text())


@dataclass(frozen=True)
class Kind:
    """One kind of bad input; ``make`` draws one of it."""

    make: Callable[[random.Random], list[bytes]]
    status: int
    """HTTP status expected; 101 where the input is sent on a socket, 0 where the server just hangs up."""
    close: int = 0
    """Close code expected."""
    code: str = ""
    """Error code expected, where the refusal has a body or an event."""
    slow: bool = False
    """The refusal takes as long as a time limit: a few of them are enough."""


def _socket(*frames: bytes) -> list[bytes]:
    return [upgrade(), b"".join(frames)]


def _noise(draw: random.Random, least: int = 1, most: int = 60) -> bytes:
    return draw.randbytes(draw.randint(least, most))


def _broken_utf8(draw: random.Random) -> bytes:
    bad = draw.choice([b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x28\xa1"])
    return b'{"type":"' + bytes(draw.choices(b"abcxyz", k=draw.randint(0, 20))) + bad + b'"}'


def _word(draw: random.Random) -> str:
    return "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(1, 12)))


_AFTER = frame(struct.pack("!H", 1000), CLOSE)
"""Our own goodbye: where the server wrongly takes what came before, the exchange ends with 1000."""

FRAMES: Mapping[str, Kind] = {
    "a binary frame": Kind(lambda d: _socket(frame(_noise(d), BINARY)), 101, 1003),
    "text that is not UTF-8": Kind(lambda d: _socket(frame(_broken_utf8(d))), 101, 1007),
    "text that is not UTF-8 in its second fragment": Kind(
        lambda d: _socket(frame(b'{"a":', fin=False), frame(_broken_utf8(d), 0)), 101, 1007
    ),
    "a frame without mask": Kind(lambda d: _socket(frame(_noise(d), masked=False)), 101, 1002),
    "a reserved bit": Kind(lambda d: _socket(frame(b"{}", rsv=d.randint(1, 7))), 101, 1002),
    "a reserved opcode": Kind(
        lambda d: _socket(frame(_noise(d), d.choice([3, 4, 5, 6, 7, 11, 12, 13, 14, 15]))), 101, 1002
    ),
    "a message beyond the limit": Kind(
        lambda d: _socket(frame(b"x" * d.randint(65_537, 90_000))), 101, 1009, "message_too_large"
    ),
    "a length beyond any memory": Kind(
        lambda d: _socket(struct.pack("!BBQ", 0x81, 0xFF, d.randint(2**40, 2**62)) + b"mask"),
        101,
        1009,
        "message_too_large",
    ),
    "a length with its highest bit": Kind(
        lambda d: _socket(struct.pack("!BBQ", 0x81, 0xFF, d.randint(2**63, 2**64 - 1)) + b"mask"),
        101,
        1009,
        "message_too_large",
    ),
    "fragments beyond the limit": Kind(
        lambda d: _socket(
            frame(b"x" * 20_000, fin=False), *[frame(b"x" * d.randint(16_000, 20_000), 0, fin=False)] * 3
        ),
        101,
        1009,
        "message_too_large",
    ),
    "a continuation of nothing": Kind(lambda d: _socket(frame(_noise(d), 0)), 101, 1002),
    "a message inside another's fragments": Kind(
        lambda d: _socket(frame(_word(d).encode(), fin=False), frame(b"{}")), 101, 1002
    ),
    "a ping in fragments": Kind(lambda d: _socket(frame(_noise(d), PING, fin=False)), 101, 1002),
    "a ping that is too long": Kind(lambda d: _socket(frame(_noise(d, 126, 300), PING)), 101, 1002),
    "a close with half a code": Kind(lambda d: _socket(frame(_noise(d, 1, 1), CLOSE)), 101, 1002),
    "a close with a code that is none": Kind(
        lambda d: _socket(
            frame(struct.pack("!H", d.choice([0, 999, 1004, 1005, 1006, 1015, 2999, 5000])), CLOSE)
        ),
        101,
        1002,
    ),
    "a close whose reason is not UTF-8": Kind(
        lambda d: _socket(frame(struct.pack("!H", 1000) + b"\xff" + _noise(d, 1, 20), CLOSE)), 101, 1007
    ),
    "HTTP on a socket": Kind(lambda _: [upgrade(), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"], 101, 1002),
}


def _message(name: str, code: str, make: Callable[[random.Random], object]) -> tuple[str, Kind]:
    """Describe a message that is refused with an error while the socket stays."""

    def sent(draw: random.Random) -> list[bytes]:
        made = make(draw)
        text = made if isinstance(made, str) else json.dumps(made)
        return [upgrade(), frame(text.encode()), _AFTER]

    return f"message: {name}", Kind(sent, 101, 1000, code)


def _create(**fields: object) -> dict[str, object]:
    return {"type": "response.create", "input": "x", **fields}


_WRONG = [None, True, 7, -1.5, "", "x", [], [1], {}, {"a": 1}]

MESSAGES: Mapping[str, Kind] = dict(
    [
        _message("no JSON", "invalid_json", lambda d: _word(d) + "{"),
        _message("noise", "invalid_json", lambda d: "".join(chr(d.randint(0x80, 0xD7FF)) for _ in range(9))),
        _message("JSON that is no object", "invalid_json", lambda d: json.dumps(d.choice([1, [], [[]], "x", None]))),
        _message("cut JSON", "invalid_json", lambda d: json.dumps(_create(a="b" * 9))[: d.randint(1, 40)]),
        _message("deep JSON", "invalid_json", lambda d: "[" * (n := d.randint(40, 20_000)) + "]" * n),
        _message("a deep field", "invalid_json", lambda d: '{"type":"response.create","x":' + '{"a":' * (n := d.randint(40, 5_000)) + "1" + "}" * n + "}"),
        _message("no type", "invalid_request", lambda d: {_word(d) + "_": d.choice(_WRONG)}),
        _message("a type of another kind", "invalid_request", lambda d: {"type": d.choice([None, True, 7, [], {}])}),
        _message("an unknown type", "unsupported_event", lambda d: {"type": "response." + _word(d) + "_"}),
        _message("no input", "invalid_request", lambda d: {"type": "response.create", "model": _word(d)}),
        _message("input of a wrong kind", "invalid_request", lambda d: _create(input=d.choice([None, True, 7, 1.5, {}, [1], [[]], [None]]))),
        _message("an empty conversation", "invalid_request", lambda d: _create(input=[], temperature=d.random())),
        _message("an unknown role", "invalid_request", lambda d: _create(input=[{"role": _word(d) + "_", "content": "x"}])),
        _message("content of a wrong kind", "invalid_request", lambda d: _create(input=[{"role": "user", "content": d.choice([True, 7, {}, [1], ["x"]])}])),
        _message("a part that is no text", "unsupported_parameter", lambda d: _create(input=[{"role": "user", "content": [{"type": "input_" + _word(d) + "_"}]}])),
        _message("an item that is no message", "unsupported_parameter", lambda d: _create(input=[{"type": _word(d) + "_call"}])),
        _message("a number out of range", "invalid_request", lambda d: _create(**{d.choice(["max_output_tokens", "temperature", "top_p", "keep"]): d.choice([-9, -(10.0**300), 10**12, 2**63])})),
        _message("a number of a wrong kind", "invalid_request", lambda d: _create(**{d.choice(["max_output_tokens", "temperature", "top_p", "seed", "keep"]): d.choice(["7", [], {}, True])})),
        _message("digits without end", "invalid_request", lambda d: '{"type":"response.create","input":"x","max_output_tokens":' + "9" * d.randint(30, 5_000) + "}"),
        _message("metadata of a wrong kind", "invalid_request", lambda d: _create(metadata=d.choice([[], "x", 7, {"a": 1}, {"a": None}, {"a": "v" * 600}, {"k" * 70: ""}]))),
        _message("stop of a wrong kind", "invalid_request", lambda d: _create(stop=d.choice(["", [""], [1], 7, {}, ["a"] * 5]))),
        _message("a bad stream_id", "invalid_stream_id", lambda d: _create(stream_id=d.choice(["", " ", "a/b", "é", "x" * 300, '"', "a\n", 7, [], {}]))),
        _message("tools", "unsupported_parameter", lambda d: _create(tools=[{"type": _word(d)}])),
        _message("another format", "unsupported_parameter", lambda d: _create(text={"format": {"type": "json_" + _word(d)}})),
        _message("several answers", "unsupported_parameter", lambda d: _create(n=d.randint(2, 9))),
        _message("an unknown model", "model_not_found", lambda d: _create(model="no-" + _word(d))),
        _message("cancel of a foreign id", "response_not_found", lambda d: {"type": "response.cancel", "response_id": _word(d)}),
        _message("cancel of an unknown id", "response_not_found", lambda d: {"type": "response.cancel", "response_id": f"resp_000{d.getrandbits(128):032x}"}),
        _message("cancel of nothing", "response_not_active", lambda d: {"type": "response.cancel", "event_id": _word(d)}),
        _message("resume without id", "invalid_request", lambda d: {"type": "response.resume", "starting_after": d.randint(0, 9)}),
        _message("resume of a foreign id", "response_not_found", lambda d: {"type": "response.resume", "response_id": d.choice(["*", "resp_", "resp_{pK}", "a" * 900, NOBODY + "0", "\u0000"])}),
        _message("resume after a number that is none", "invalid_request", lambda d: {"type": "response.resume", "response_id": NOBODY, "starting_after": d.choice([-2, 2**60, 0.5, "x", [], True])}),
    ]
)  # fmt: skip


def _http(method: str, path: str, body: bytes = b"", head: str = "") -> list[bytes]:
    lines = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}"
    if body:
        lines += f"Content-Length: {len(body)}\r\n"
    return [lines.encode() + b"\r\n" + body]


def _post(body: bytes, head: str = "") -> list[bytes]:
    return _http("POST", "/v1/responses", body, head)


def _raw(head: str, body: bytes = b"") -> list[bytes]:
    return [f"POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}\r\n".encode() + body]


_HELLO = [{"role": "user", "content": "x"}]


def _asked(path: str, name: str, code: str, make: Callable[[random.Random], object]) -> tuple[str, Kind]:
    """Describe a body of one of the two older APIs and its refusal."""

    def sent(draw: random.Random) -> list[bytes]:
        made = make(draw)
        return _http("POST", path, made if isinstance(made, bytes) else json.dumps(made).encode())

    return f"{path.split('/')[2]}: {name}", Kind(sent, 404 if code == "model_not_found" else 400, code=code)


def _chat(name: str, code: str, make: Callable[[random.Random], object]) -> tuple[str, Kind]:
    return _asked("/v1/chat/completions", name, code, make)


def _text(name: str, code: str, make: Callable[[random.Random], object]) -> tuple[str, Kind]:
    return _asked("/v1/completions", name, code, make)


def _said(**fields: object) -> dict[str, object]:
    return {"messages": _HELLO, **fields}


OLDER: Mapping[str, Kind] = dict(
    [
        _chat("no JSON", "invalid_json", lambda d: _word(d).encode() + b"{"),
        _chat("bad UTF-8", "invalid_json", lambda d: b'{"model":"' + _broken_utf8(d) + b'"}'),
        _chat("deep JSON", "invalid_json", lambda d: b'{"messages":' + b"[" * (n := d.randint(40, 20_000)) + b"]" * n + b"}"),
        _chat("no messages", "invalid_request", lambda d: {_word(d) + "_": 1, "model": "echo"}),
        _chat("messages of a wrong kind", "invalid_request", lambda d: {"messages": d.choice([None, True, 7, "x", [], {}, [1], [[]], [None], ["x"]])}),
        _chat("an unknown role", "invalid_request", lambda d: {"messages": [{"role": _word(d) + "_", "content": "x"}]}),
        _chat("a tool's message", "unsupported_parameter", lambda d: {"messages": [{"role": d.choice(["tool", "function"]), "content": _word(d)}]}),
        _chat("content of a wrong kind", "invalid_request", lambda d: {"messages": [{"role": "user", "content": d.choice([None, True, 7, {}, [1], ["x"], [{}]])}]}),
        _chat("a part that is no text", "unsupported_parameter", lambda d: {"messages": [{"role": "user", "content": [{"type": _word(d) + "_url"}]}]}),
        _chat("a number out of range", "invalid_request", lambda d: _said(**{d.choice(["max_tokens", "max_completion_tokens", "temperature", "top_p", "frequency_penalty", "presence_penalty"]): d.choice([-9, 10**12, -(10.0**300)])})),
        _chat("a number of a wrong kind", "invalid_request", lambda d: _said(**{d.choice(["max_tokens", "temperature", "top_p", "seed", "top_logprobs"]): d.choice(["7", [], {}, True])})),
        _chat("stream options of a wrong kind", "invalid_request", lambda d: _said(stream=True, stream_options=d.choice([7, "x", [], {"include_usage": "yes"}]))),
        _chat("tools", "unsupported_parameter", lambda d: _said(**{d.choice(["tools", "functions"]): [{"name": _word(d)}]})),
        _chat("another format", "unsupported_parameter", lambda d: _said(response_format={"type": "json_" + _word(d)})),
        _chat("several answers", "unsupported_parameter", lambda d: _said(n=d.randint(2, 9), stream=d.random() < 0.5)),
        _chat("likeliest tokens without logprobs", "invalid_request", lambda d: _said(top_logprobs=d.randint(1, 20))),
        _chat("an unknown model", "model_not_found", lambda d: _said(model="no-" + _word(d))),
        _text("no prompt", "invalid_request", lambda d: {"model": "echo", _word(d) + "_": 1}),
        _text("a prompt that is not one text", "invalid_request", lambda d: {"prompt": d.choice([None, "", [], True, 7, {}, ["a", "b"], [1, 2], [[1]]])}),
        _text("a wish that is not met", "unsupported_parameter", lambda d: {"prompt": "x", **d.choice([{"echo": True}, {"best_of": 3}, {"suffix": "y"}, {"n": 2}, {"logit_bias": {"1": 1}}])}),
        _text("logprobs of a wrong kind", "invalid_request", lambda d: {"prompt": "x", "logprobs": d.choice([True, "1", -1, 99, [], {}])}),
        _text("an unknown model", "model_not_found", lambda d: {"prompt": "x", "model": "no-" + _word(d)}),
    ]
)  # fmt: skip

BAD = "invalid_request"
HANDSHAKES: Mapping[str, Kind] = {
    "handshake: another version": Kind(
        lambda d: [upgrade(Sec_WebSocket_Version=str(d.choice([0, 7, 8, 12, 14, 99])))],
        400,
        code="invalid_request",
    ),
    "handshake: no version": Kind(
        lambda _: [upgrade(drop="Sec-WebSocket-Version")], 400, code="invalid_request"
    ),
    "handshake: no key": Kind(lambda _: [upgrade(drop="Sec-WebSocket-Key")], 400, code="invalid_request"),
    "handshake: a key that is none": Kind(
        lambda d: [upgrade(Sec_WebSocket_Key=_word(d) + "!")], 400, code="invalid_request"
    ),
    "handshake: no Connection: Upgrade": Kind(
        lambda _: [upgrade(Connection="keep-alive")], 426, code="upgrade_required"
    ),
    "handshake: a cursor that is none": Kind(
        lambda d: [upgrade(f"/v1/responses?response_id={NOBODY}&starting_after={_word(d)}")], 400, code=BAD
    ),
    "handshake: lists that do not fit": Kind(
        lambda d: [upgrade(f"/v1/responses?response_id={NOBODY}" + "&epoch=1" * d.randint(2, 5))],
        400,
        code=BAD,
    ),
    "handshake: a bad lane": Kind(
        lambda d: [upgrade(f"/v1/responses?response_id={NOBODY}&stream_id=a%{d.randint(20, 29)}")],
        400,
        code="invalid_stream_id",
    ),
    "handshake: a foreign page": Kind(
        lambda d: [upgrade(Origin=f"https://{_word(d)}.example")], 403, code="origin_not_allowed"
    ),
    "handshake: another path": Kind(lambda d: [upgrade(f"/v1/{_word(d)}_")], 404, code="not_found"),
    "handshake: a header block beyond the limit": Kind(
        lambda d: [upgrade(X_Long="x" * d.randint(17_000, 60_000))], 431, code="message_too_large"
    ),
    "handshake: too many headers": Kind(
        lambda d: [upgrade(**{f"X-{n}": "y" for n in range(d.randint(300, 500))})],
        431,
        code="message_too_large",
    ),
    "handshake: a header with a space in its name": Kind(
        lambda d: [upgrade(**{f"X {_word(d)}": "y"})], 400, code="invalid_request"
    ),
    "handshake: HTTP/1.0": Kind(
        lambda _: [upgrade().replace(b"HTTP/1.1", b"HTTP/1.0")], 505, code="invalid_request"
    ),
    "handshake: frames before it is answered": Kind(
        lambda d: [upgrade() + frame(_noise(d), masked=False)], 0
    ),
    "handshake: slow": Kind(lambda d: [upgrade()[: d.randint(20, 60)]], 0, slow=True),
}

REQUESTS: Mapping[str, Kind] = {
    "request: no HTTP": Kind(lambda d: [_word(d).encode() + b"\r\n\r\n"], 400),
    "request: TLS on a plain port": Kind(
        lambda d: [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + d.randbytes(32) + b"\r\n\r\n"], 400
    ),
    "request: HTTP/2 by its preface": Kind(
        lambda _: [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], 404, code="not_found"
    ),
    "request: no Host": Kind(lambda _: [b"GET /v1/models HTTP/1.1\r\n\r\n"], 400),
    "request: a header without colon": Kind(
        lambda d: _http("GET", "/v1/models", head=f"{_word(d)}\r\n"), 400
    ),
    "request: a space before the colon": Kind(
        lambda d: _http("GET", "/v1/models", head=f"{_word(d)} : x\r\n"), 400
    ),
    "request: a header block beyond the limit": Kind(
        lambda d: _http("GET", "/v1/models", head=f"X-Long: {'x' * d.randint(17_000, 50_000)}\r\n"), 431
    ),
    "request: a target beyond the limit": Kind(
        lambda d: _http("GET", "/" + "x" * d.randint(17_000, 50_000)), 431
    ),
    "smuggling: length and chunks": Kind(
        lambda d: _raw(
            f"Content-Length: {d.randint(1, 9)}\r\nTransfer-Encoding: chunked\r\n",
            b"0\r\n\r\nGET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        ),
        400,
        code="invalid_request",
    ),
    "smuggling: two lengths": Kind(
        lambda d: _raw(f"Content-Length: {d.randint(1, 5)}\r\nContent-Length: {d.randint(6, 9)}\r\n", b"{}"),
        400,
    ),
    "smuggling: a length that is none": Kind(
        lambda d: _raw(f"Content-Length: {d.choice(['-1', '+2', '0x2', '2, 3', '1e3', '²', ''])}\r\n", b"{}"),
        400,
    ),
    "smuggling: another transfer coding": Kind(
        lambda d: _raw(
            f"Transfer-Encoding: {d.choice(['gzip', 'xchunked', 'chunked, gzip', 'identity'])}\r\n"
        ),
        400,
    ),
    "smuggling: a chunk size that is none": Kind(
        lambda d: _raw(
            "Transfer-Encoding: chunked\r\n",
            f"{d.choice(['x', '-1', '0x3', ' 3'])}\r\n".encode() + b"abc\r\n",
        ),
        400,
    ),
    "smuggling: a bare line feed": Kind(
        lambda d: [f"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\r{_word(d)}: b\r\n\r\n".encode()], 400
    ),
    "body: no JSON": Kind(lambda d: _post(_word(d).encode() + b"!"), 400, code="invalid_json"),
    "body: cut JSON": Kind(
        lambda d: _post(b'{"input":"xxxxxxxxx"}'[: d.randint(1, 20)]), 400, code="invalid_json"
    ),
    "body: bad UTF-8": Kind(
        lambda d: _post(b'{"input":"' + _broken_utf8(d) + b'"}'), 400, code="invalid_json"
    ),
    "body: a form": Kind(
        lambda d: _post(f"input={_word(d)}".encode(), "Content-Type: application/x-www-form-urlencoded\r\n"),
        400,
        code="invalid_json",
    ),
    "body: a file": Kind(
        lambda d: _post(
            b"--b\r\n" + _noise(d) + b"\r\n--b--", "Content-Type: multipart/form-data; boundary=b\r\n"
        ),
        400,
        code="invalid_json",
    ),
    "body: compressed": Kind(
        lambda d: _post(b"\x1f\x8b" + _noise(d), "Content-Encoding: gzip\r\n"), 400, code="invalid_request"
    ),
    "body: deep": Kind(
        lambda d: _post(b'{"input":"x","x":' + b"[" * (n := d.randint(40, 50_000)) + b"]" * n + b"}"),
        400,
        code="invalid_json",
    ),
    "body: beyond the limit": Kind(
        lambda d: _post(b'{"input":"' + b"x" * d.randint(270_000, 300_000) + b'"}'),
        413,
        code="message_too_large",
    ),
    "body: chunks beyond the limit": Kind(
        lambda d: _raw(
            "Transfer-Encoding: chunked\r\n",
            b"8000\r\n" * 1 + (b"x" * 32768 + b"\r\n8000\r\n") * d.randint(9, 12),
        ),
        413,
        code="message_too_large",
    ),
    "body: no input": Kind(lambda d: _post(json.dumps({_word(d) + "_": 1}).encode()), 400, code=BAD),
    "body: an unsupported field": Kind(
        lambda d: _post(json.dumps({"input": "x", "tools": [{"type": _word(d)}]}).encode()),
        400,
        code="unsupported_parameter",
    ),
    "body: slow": Kind(
        lambda d: _raw("Content-Length: 90\r\n", _noise(d)), 408, code="request_timeout", slow=True
    ),
    "path: unknown": Kind(lambda d: _http("GET", f"/v1/{_word(d)}_/x"), 404, code="not_found"),
    "path: escapes that are none": Kind(
        lambda d: _http("GET", f"/v1/responses/{d.choice(['%', '%zz', '%00', '%ff', '..%2f..%2fetc'])}"),
        404,
    ),
    "path: an id that is none": Kind(
        lambda d: _http("GET", f"/v1/responses/resp_{_word(d)}"), 404, code="response_not_found"
    ),
    "path: an unknown id": Kind(
        lambda d: _http("POST", f"/v1/responses/resp_000{d.getrandbits(128):032x}/cancel", b"{}"),
        404,
        code="response_not_found",
    ),
    "path: deleting an unknown id": Kind(
        lambda d: _http("DELETE", f"/v1/responses/resp_000{d.getrandbits(128):032x}"),
        404,
        code="response_not_found",
    ),
    "path: input of an unknown id": Kind(
        lambda d: _http("GET", f"/v1/responses/resp_000{d.getrandbits(128):032x}/input_items?limit=2"),
        404,
        code="response_not_found",
    ),
    "body: a previous response that is not there": Kind(
        lambda d: _post(
            json.dumps(
                {"input": "x", "previous_response_id": d.choice([NOBODY, _word(d), "*", "{pK}", "x" * 200])}
            ).encode()
        ),
        400,
        code="previous_response_not_found",
    ),
    "body: raw input that is none": Kind(
        lambda d: _post(json.dumps({"raw": True, "input": d.choice(["", [], _HELLO])}).encode()),
        400,
        code=BAD,
    ),
    "query: a cursor twice": Kind(
        lambda d: _http("GET", f"/v1/responses/{NOBODY}?starting_after={d.randint(0, 9)}&starting_after=1"),
        400,
        code=BAD,
    ),
    "header: a last event that is no number": Kind(
        lambda d: _http("GET", f"/v1/responses/{NOBODY}?stream=true", head=f"Last-Event-ID: {_word(d)}\r\n"),
        400,
        code=BAD,
    ),
    "preflight: a foreign page": Kind(
        lambda d: _http(
            "OPTIONS",
            "/v1/responses",
            head=f"Origin: https://{_word(d)}.example\r\nAccess-Control-Request-Method: POST\r\n",
        ),
        403,
        code="origin_not_allowed",
    ),
    "query: a cursor that is none": Kind(
        lambda d: _http("GET", f"/v1/responses/{NOBODY}?stream=true&starting_after={_word(d)}"), 400, code=BAD
    ),
    "method: one not taken": Kind(
        lambda d: _http(
            d.choice(["PUT", "PATCH", "DELETE"]),
            d.choice(["/v1/responses", "/v1/chat/completions", "/v1/completions"]),
            b"{}",
        ),
        405,
        code="method_not_allowed",
    ),
    "method: one that nobody knows": Kind(
        lambda d: _http(_word(d).upper() + "X", "/v1/responses"), 405, code="method_not_allowed"
    ),
    "a GET without an upgrade": Kind(
        lambda d: _http("GET", f"/v1/responses?{_word(d)}"), 426, code="upgrade_required"
    ),
}

KINDS: Mapping[str, Kind] = {**FRAMES, **MESSAGES, **OLDER, **HANDSHAKES, **REQUESTS}
