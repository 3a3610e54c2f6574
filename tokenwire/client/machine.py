"""One response as its client sees it, through as many sockets as it takes; pure.

Whatever goes wrong in mid-answer, the one remedy is a new socket that asks for what comes after the cursor
(number, epoch): the log behind it is the truth.  Before the response has an id, the same create is sent
again under its idempotency key, so that no second one is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenwire.client.errors import Failed, Lost, Refused, StreamError, Unreachable
from tokenwire.client.wire import DELTA, ENDINGS, Event, Message, cancel, create, resume

BASE = 0.25
"""Seconds before the first try to come back; doubled with each one in a row."""
OVERLOADED_BASE = 2.0
CEILING = 8.0

QUIET_SECONDS = 30.0
"""A socket that is silent for so long in mid-answer is replaced."""
SILENCE_SECONDS = 600.0
"""So long a server may say nothing of a response that it has named: it may wait for a worker, or read a long prompt."""
RETRIED: Mapping[int, float] = {
    1000: BASE,  # in mid-answer only: asking again is harmless, believing it would cut the answer silently
    1001: BASE,  # hard shutdown
    1005: BASE,  # no code
    1006: BASE,  # the link broke
    1011: BASE,  # internal error
    1012: BASE,  # the gateway sends its sockets elsewhere
    1013: OVERLOADED_BASE,  # overloaded, or we read too slowly
    1015: BASE,  # the TLS handshake failed
}
"""Close codes after which the log is asked for the rest, with the backoff to begin with."""

_FINAL: Mapping[int, str] = {
    1002: "The server found a protocol error in what was sent.",
    1003: "The server does not take this kind of message.",
    1007: "The server could not read what was sent.",
    1008: "The server ended the session: it is no longer authorised.",
    1009: "The message is too large for the server.",
}

LOST = frozenset({"resume_unavailable", "response_not_found", "starting_after_out_of_range"})
"""Errors after which the response cannot be read on, whatever we do."""
ELSEWHERE = frozenset({"server_draining", "backend_unavailable"})
"""Errors of a server that is about to leave or cannot reach its own: another one may be well."""
BUSY = frozenset(
    {
        "overloaded",
        "no_worker",
        "storage_full",
        "rate_limit_exceeded",
        "too_many_active_responses",
        "lane_busy",
        "server_error",
    }
)
"""Refusals that a resume waits out; a create is refused for good, so that its caller learns it at once."""
SESSION_OVER = "websocket_connection_limit_reached"

RESUME = "resume"
CANCEL = "cancel"
"""``event_id`` of our messages, so that an error says which of them it answers; a create's is its key."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message on the socket that is open."""

    message: Message


@dataclass(frozen=True, slots=True)
class Piece:
    """Hand text to the caller."""

    text: str


@dataclass(frozen=True, slots=True)
class Dial:
    """Let go of the socket and open a new one after so many seconds."""

    after: float


@dataclass(frozen=True, slots=True)
class Finish:
    """Let go of the socket: the response has ended."""


@dataclass(frozen=True, slots=True)
class Fail:
    """Let go of the socket and raise the error."""

    error: StreamError


Effect = Send | Piece | Dial | Finish | Fail


def backoff(attempt: int, draw: float, base: float = BASE) -> float:
    """Return the seconds before try number ``attempt`` (0 is the first); ``draw`` lies in [0, 1).

    Exponential backoff with equal jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog,
    2015), so that the clients of one lost gateway do not come back as one herd.
    """
    whole = min(CEILING, base * 2.0 ** min(attempt, 16))
    return whole / 2 + draw * whole / 2


class Machine:
    """Where one response stands.  ``now`` is seconds of a steady clock, ``draw`` a fresh number in [0, 1)."""

    def __init__(self, request: Mapping[str, object], key: str, patience: float) -> None:
        self.response: dict[str, Any] | None = None
        """The newest response object; the whole one after the ending."""
        self.last = -1
        """Number of the last event taken."""
        self.epoch: int | None = None
        """Epoch of the last event taken."""
        self.text = ""
        self.over = self.stopping = False
        self.resumes = 0
        """Times the response went on after a lost socket."""
        self._request, self._key, self._patience = request, key, patience
        self._lost_at: float | None = None
        self._heard_at: float | None = None
        """When the last event was taken, or else the first socket stood."""
        self._attempt = 0
        self._open = False
        """A socket stands on which something can be said."""

    @property
    def response_id(self) -> str | None:
        """Return the response's id, once the server has named it."""
        return None if self.response is None else str(self.response["id"])

    def bears(self, now: float) -> float:
        """Return how many seconds the socket may be silent before ``quiet`` is to be told."""
        silent = 0.0 if self._heard_at is None else now - self._heard_at
        return max(0.0, min(QUIET_SECONDS, self._longest_silence - silent))

    def opened(self, now: float) -> list[Effect]:
        """Say on a new socket what we are here for: ask, ask again, or read on."""
        self._open = True
        if self._heard_at is None:
            self._heard_at = now
        response_id = self.response_id
        if response_id is None:
            return [Send(create(self._request, self._key))]
        effects: list[Effect] = [Send(resume(response_id, self.last, self.epoch, RESUME))]
        if self.stopping:
            effects.append(Send(cancel(response_id, CANCEL)))
        return effects

    def received(self, event: Event, now: float, draw: float) -> list[Effect]:
        """Take one event."""
        if self.over:
            return []
        if event["type"] == "malformed":
            return self._again(now, draw)
        if event["type"] == "error":
            return self._told(event, now, draw)
        return self._numbered(event, now, draw) if "sequence_number" in event else []

    def closed(self, code: int | None, now: float, draw: float) -> list[Effect]:
        """Learn that the socket is gone, or could not be had (1006)."""
        if self.over:
            return []
        base = RETRIED.get(code or 1005)
        if base is not None:
            return self._again(now, draw, base)
        sentence = _FINAL.get(code or 1005, f"The server closed the connection for good (code {code}).")
        return self._fail(Refused(sentence, "connection_refused", response_id=self.response_id))

    def refused(  # noqa: PLR0913, PLR0917 - what an HTTP refusal says, and the moment
        self, status: int, code: str, sentence: str, retry_after: float | None, now: float, draw: float
    ) -> list[Effect]:
        """Learn that the handshake was answered with an HTTP error."""
        waits = status >= 500 or (status == 429 and self.response_id is not None)
        if not waits:
            error = Refused(sentence, code, response_id=self.response_id, retry_after=retry_after)
            return self._fail(error)
        effects = self._again(now, draw)
        if retry_after is not None and isinstance(effects[0], Dial):
            # Many are told the same whole second: they must not come back in one moment.
            return [Dial(max(effects[0].after, min(retry_after, self._patience)) + draw)]
        return effects

    def quiet(self, now: float, draw: float) -> list[Effect]:
        """Learn that the socket was silent for as long as we bear it: it may be dead without our knowing.

        Or the response waits for a worker.  The server was reached, so patience with links is counted anew.
        """
        if self.over:
            return []
        if self._heard_at is not None and now - self._heard_at >= self._longest_silence:
            sentence = (
                f"The server takes connections and has said nothing for {self._longest_silence:g} seconds."
            )
            return self._fail(Unreachable(sentence, "unreachable", response_id=self.response_id))
        self._lost_at, self._attempt = None, 0
        return self._again(now, draw)

    @property
    def _longest_silence(self) -> float:
        """A create is answered at once; what follows may take its time."""
        return self._patience if self.response_id is None else max(self._patience, SILENCE_SECONDS)

    def stop(self) -> list[Effect]:
        """End the response, now or as soon as it has a name."""
        if self.over or self.stopping:
            return []
        self.stopping = True
        response_id = self.response_id
        return [Send(cancel(response_id, CANCEL))] if self._open and response_id is not None else []

    # ---- events with a number ----

    def _numbered(self, event: Event, now: float, draw: float) -> list[Effect]:
        last: int = event["sequence_number"]
        if last <= self.last:
            return []
        older = self.epoch is not None and event.get("epoch", self.epoch) < self.epoch
        if event.get("first_sequence_number", last) != self.last + 1 or older:
            return self._again(now, draw)
        return self._take(event, last, now)

    def _take(self, event: Event, last: int, now: float) -> list[Effect]:
        self.resumes += self._lost_at is not None and self.last >= 0
        self._lost_at, self._attempt, self._heard_at = None, 0, now
        self.last, self.epoch = last, event.get("epoch", self.epoch)
        effects = self._named(event)
        if event["type"] == DELTA:
            self.text += event["delta"]
            effects.append(Piece(event["delta"]))
        elif event["type"] in ENDINGS:
            effects = [self._ending(event)]
        return effects

    def _named(self, event: Event) -> list[Effect]:
        if "response" not in event:
            return []
        was_named = self.response is not None
        self.response = dict(event["response"])
        if self.stopping and not was_named:
            return [Send(cancel(str(self.response["id"]), CANCEL))]
        return []

    def _ending(self, event: Event) -> Effect:
        self.over = True
        if event["type"] != "response.failed":
            return Finish()
        error = event["response"].get("error") or {}
        sentence = error.get("message") or "The response failed."
        return Fail(Failed(sentence, error.get("code") or "server_error", response_id=self.response_id))

    # ---- errors ----

    def _told(self, event: Event, now: float, draw: float) -> list[Effect]:
        error, about = event["error"], event.get("event_id")
        code = str(error.get("code") or "error")
        if code == SESSION_OVER or code in ELSEWHERE:
            return self._again(now, draw)
        if about == CANCEL or code == "response_not_active" or not self._concerns(about):
            return []
        if self.response_id is not None and code in BUSY:
            return self._again(now, draw)
        return self._fail(self._error_of(code, error))

    def _concerns(self, about: object) -> bool:
        """Say whether an error is about this response; one without ``event_id`` is, until it runs."""
        if about is None:
            return self.last < 0
        return about in {self._key, RESUME}

    def _error_of(self, code: str, error: Mapping[str, Any]) -> StreamError:
        kind = Lost if code in LOST and self.response_id is not None else Refused
        return kind(
            error["message"], code, response_id=self.response_id, retry_after=error.get("retry_after")
        )

    def _fail(self, error: StreamError) -> list[Effect]:
        self.over = True
        return [Fail(error)]

    def _again(self, now: float, draw: float, base: float = BASE) -> list[Effect]:
        """Come back after a backoff, or give up when patience is over."""
        self._open = False
        if self._lost_at is None:
            self._lost_at = now
        if now - self._lost_at >= self._patience:
            sentence = f"The server could not be reached for {self._patience:g} seconds."
            return self._fail(Unreachable(sentence, "unreachable", response_id=self.response_id))
        self._attempt += 1
        return [Dial(backoff(self._attempt - 1, draw, base))]
