"""What was measured, and what it means in plain sentences; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

_LATE_SECONDS = 0.3
"""An event that comes so much later than its neighbours was held back."""
_PINGS_SECONDS = 20
"""How often a gateway pings a silent socket (gateway/door.py)."""


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    verdict: Verdict
    sentence: str
    """What is so, and if it is a problem, what to set."""


@dataclass(frozen=True, slots=True)
class Paced:
    """A paced stream as it came: each event's time of sending, by the gateway's clock, and of arrival, by ours."""

    status: int
    headers: Mapping[str, str]
    """Of the answer, names in lower case."""
    local: str
    """Our end of the connection, as address and port."""
    sent: Sequence[float] = ()
    came: Sequence[float] = ()
    arrived: Mapping[str, str] | None = None
    """The request's headers as the gateway saw them; None if no event came."""
    peer: str = ""
    """The other end of the gateway's connection."""
    code: str = ""
    """Of a refusal."""

    @property
    def between(self) -> bool:
        """Whether the gateway talks to somebody else than us."""
        return bool(self.peer) and self.peer != self.local

    @property
    def hop(self) -> str:
        """How to call what stands between."""
        name = self.headers.get("via") or self.headers.get("server")
        return (
            f"what stands in front of the gateway ({name})" if name else "what stands in front of the gateway"
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer as it came, in seconds since it was asked for."""

    created: float = 0.0
    first: float | None = None
    last: float = 0.0
    deltas: int = 0
    problem: str = ""
    """Why there was none."""


def way(paced: Paced) -> Finding:
    """Say who answers."""
    if paced.arrived is None:
        return Finding("way", Verdict.PROBLEM, _refused(paced))
    if paced.between:
        return Finding("way", Verdict.OK, f"The gateway is reached through {paced.hop}.")
    return Finding("way", Verdict.OK, "The gateway is reached directly.")


def _refused(paced: Paced) -> str:
    if paced.status == 401:
        return "The gateway wants a key: give one with --tokenwire-key."
    if paced.code == "origin_not_allowed":
        return (
            "The gateway does not know its own page: Host does not arrive as it was sent, so the Origin is "
            "foreign to it. Set proxy_set_header Host $http_host, or name the page's origin in ORIGINS."
        )
    if paced.status == 404:
        return "What answers is no Tokenwire gateway, or one that is older than this command (404)."
    if paced.status == 200:
        return "The stream ended before its first event: something on the way closed it."
    return f"The gateway cannot be asked ({paced.status} {paced.code}): see its /readyz.".replace(" )", ")")


def pace(paced: Paced) -> Finding:
    """Say whether events of a paced stream came as they were sent."""
    offsets = [came - sent for sent, came in zip(paced.sent, paced.came, strict=True)]
    late = max(offsets) - min(offsets)
    joined = sum(b - a < 0.01 for a, b in zip(paced.came, paced.came[1:], strict=False))
    if late < _LATE_SECONDS:
        return Finding(
            "sse pace", Verdict.OK, f"Server-sent events come as they are sent, within {_ms(late)}."
        )
    if joined * 2 >= len(offsets) - 1:
        sentence = (
            f"{_who(paced)} buffers server-sent events: they were held back for up to {late:.1f} s and came {joined + 1} "
            "at a time. Set proxy_buffering off (nginx), flush_interval -1 (Caddy), or let X-Accel-Buffering: no pass."
        )
        return Finding("sse pace", Verdict.PROBLEM, sentence)
    sentence = (
        f"Server-sent events come up to {late:.1f} s late, one by one: the network or {_who(paced)} is slow."
    )
    return Finding("sse pace", Verdict.NOTE, sentence)


def encoding(paced: Paced) -> Finding:
    """Say whether the stream was compressed."""
    name = paced.headers.get("content-encoding", "identity")
    if name == "identity":
        return Finding("sse compression", Verdict.OK, "Streams are not compressed.")
    sentence = (
        f"{_who(paced)} compresses streams ({name}), which joins events and costs more than it saves: take "
        "text/event-stream out of gzip_types (nginx), or switch compression off for /v1/."
    )
    return Finding("sse compression", Verdict.PROBLEM, sentence)


def headers(paced: Paced, origin: str, host: str) -> list[Finding]:
    """Say which headers were lost on the way."""
    arrived = paced.arrived or {}
    found = []
    if arrived.get("origin") != origin:
        sentence = (
            f"{_who(paced)} strips or changes Origin, by which gateways tell their own page from a foreign one: "
            "pass it on as it is."
        )
        found.append(Finding("origin", Verdict.PROBLEM, sentence))
    if arrived.get("host") != host:
        sentence = (
            f"Host arrives as {arrived.get('host', 'nothing')} instead of {host}: set proxy_set_header Host $http_host, "
            "or name the page's origin in ORIGINS."
        )
        found.append(Finding("host", Verdict.PROBLEM, sentence))
    lost = [name for name in ("x-forwarded-for", "x-forwarded-proto") if name not in arrived]
    if paced.between and lost:
        sentence = (
            f"{_who(paced)} does not say whom it asks for ({', '.join(lost)}), so limits by address count all clients as "
            "one: set proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for and X-Forwarded-Proto $scheme, and "
            "name the proxy in TRUSTED_PROXIES."
        )
        found.append(Finding("forwarded", Verdict.PROBLEM, sentence))
    return found or [Finding("headers", Verdict.OK, "Origin, Host and the client's address arrive.")]


def handshake(status: int, code: str) -> Finding:
    """Say whether a WebSocket can be opened; ``status`` 101 is a success, 0 no answer."""
    if status == 101:
        return Finding("socket", Verdict.OK, "A WebSocket can be opened.")
    if status == 426 or code == "upgrade_required":
        sentence = (
            "Something on the way lacks the upgrade headers, so WebSockets cannot be opened: set proxy_http_version 1.1, "
            'proxy_set_header Upgrade $http_upgrade and proxy_set_header Connection "upgrade".'
        )
    elif code == "origin_not_allowed":
        sentence = "The socket's Origin is refused: pass Host and Origin on as they are, or name the origin in ORIGINS."
    elif status == 401:
        sentence = "The gateway wants a key: give one with --tokenwire-key."
    else:
        sentence = (
            f"No WebSocket can be opened ({status or 'no answer'} {code}".rstrip()
            + "): does the proxy know them?"
        )
    return Finding("socket", Verdict.PROBLEM, sentence)


def extensions(names: Sequence[str]) -> Finding:
    """Say whether somebody on the way compresses the socket; a gateway never does."""
    if not names:
        return Finding("socket compression", Verdict.OK, "Sockets are not compressed.")
    sentence = (
        f"Something on the way compresses sockets ({', '.join(names)}), which holds text back and costs 300 KiB a socket: "
        "switch permessage-deflate off there."
    )
    return Finding("socket compression", Verdict.PROBLEM, sentence)


def idle(asked: float, lived: float, code: int | None) -> Finding:
    """Say whether a silent socket is left alone."""
    if lived >= asked:
        return Finding("idle", Verdict.OK, f"A socket that is silent for {asked:g} s is left alone.")
    sentence = (
        f"Something cuts a socket after {lived:.1f} s of silence (close code {code or 'none'}): gateways ping every "
        f"{_PINGS_SECONDS} s, so set its idle time-outs to 60 s or more (proxy_read_timeout and proxy_send_timeout in nginx)."
    )
    return Finding("idle", Verdict.PROBLEM, sentence)


def answer(kind: str, told: Answer) -> Finding:
    """Say how a model's answer came over a socket or as server-sent events."""
    check = f"{kind} answer"
    if told.problem:
        return Finding(check, Verdict.PROBLEM, f"No answer came over {kind}: {told.problem}")
    held = told.last > 2 * _LATE_SECONDS and told.created > 0.6 * told.last
    if held and told.deltas > 4:
        sentence = (
            f"Something on the way buffers over {kind}: the beginning of an answer came after {told.created:.1f} s, with all "
            "the rest. Set proxy_buffering off, or tell it to pass frames on at once."
        )
        return Finding(check, Verdict.PROBLEM, sentence)
    first = "no text" if told.first is None else f"first text after {_ms(told.first)}"
    sentence = f"An answer over {kind}: {first}, {told.deltas} deltas, whole after {_ms(told.last)}."
    return Finding(check, Verdict.OK, sentence)


def stopping(seconds: float | None) -> Finding:
    """Say how long a Stop takes; None if its ending never came."""
    if seconds is None:
        return Finding(
            "stop", Verdict.PROBLEM, "A Stop was not answered within ten seconds: what buffers on the way?"
        )
    if seconds > 1:
        sentence = (
            f"A Stop took {seconds:.1f} s: text that was sent before it lies in large buffers on the way."
        )
        return Finding("stop", Verdict.PROBLEM, sentence)
    return Finding("stop", Verdict.OK, f"A Stop shows after {_ms(seconds)}.")


def compared(through: Sequence[Finding], direct: Sequence[Finding]) -> list[Finding]:
    """Say of each problem whether it is there without the proxy too."""
    verdicts = {finding.check: finding.verdict for finding in direct}
    return [
        replace(finding, sentence=f"{finding.sentence} {_blame(verdicts.get(finding.check))}")
        if finding.verdict is Verdict.PROBLEM
        else finding
        for finding in through
    ]


def _blame(directly: Verdict | None) -> str:
    if directly is Verdict.PROBLEM:
        return "It is so directly, too: look at the gateway's own side."
    return "Directly it is not so: it is the proxy's doing."


def skew(seconds: float) -> Finding:
    """Say whether this machine's clock and the store's agree."""
    if abs(seconds) <= 1:
        return Finding(
            "clock", Verdict.OK, f"This machine's clock and the store's differ by {_ms(abs(seconds))}."
        )
    sentence = (
        f"This machine's clock and the store's differ by {abs(seconds):.1f} s: no promise rests on it, but tokens that "
        "expire, logs and traces do. Let NTP set both."
    )
    return Finding("clock", Verdict.NOTE if abs(seconds) < 30 else Verdict.PROBLEM, sentence)


def _who(paced: Paced) -> str:
    hop = paced.hop if paced.between else "the gateway or the network"
    return hop[0].upper() + hop[1:]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
