"""The answers of the two older APIs: chunks of a stream and whole objects, out of the same events; pure.

Every delta becomes a chunk with the very bytes that the log has.  What else a chunk says stands in the
response object that the first and the last event carry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import msgspec

from gateway.errors import Code, WireError
from gateway.render import DeltaFrame, Event
from gateway.response import Json
from shared.log import Reason, Status, unescape
from shared.logprobs import unpacked, wire

DONE = b"data: [DONE]\n\n"

_CREATED = "response.created"
_TERMINAL = ("response.completed", "response.incomplete", "response.failed")
_EMPTY = msgspec.Raw(b'""')
_HERE, _THERE = "\0here\0", "\0there\0"
"""Where a delta's text and its logprobs go: no name of a model holds it."""


@dataclass(frozen=True, slots=True)
class Form:
    """What differs between the two."""

    prefix: str
    """Of its ids; what follows names the response."""
    whole: str
    chunk: str
    """Their values of ``object``."""
    opening: Json | None
    """What the choice of the first chunk says, if there is one before any text."""
    piece: Callable[[object], Json]
    """From a text to what the choice of a chunk says."""
    closing: Json
    """What the choice of the last chunk says besides its reason."""
    said: Callable[[object], Json]
    """From the whole text to what the choice of the whole object says."""
    logprobs: Callable[[msgspec.Raw, int], Json]
    """From logprobs as the events have them, and the characters said before, to what the choice says of them."""


class _Likely(msgspec.Struct):
    token: str
    logprob: float


class _Scored(_Likely):
    top_logprobs: list[_Likely]


def _listed(tokens: msgspec.Raw, _: int) -> Json:
    return {"content": tokens, "refusal": None}


def _in_columns(tokens: msgspec.Raw, at: int) -> Json:
    read = msgspec.json.decode(tokens, type=list[_Scored])
    sizes = (0 if token.token.startswith("bytes:") else len(token.token) for token in read)
    return {
        "tokens": [token.token for token in read],
        "token_logprobs": [token.logprob for token in read],
        "top_logprobs": [{each.token: each.logprob for each in token.top_logprobs} for token in read],
        "text_offset": list(accumulate(sizes, initial=at))[: len(read)],
    }


CHAT = Form(
    "chatcmpl-",
    "chat.completion",
    "chat.completion.chunk",
    {"delta": {"role": "assistant", "content": "", "refusal": None}},
    lambda text: {"delta": {"content": text}},
    {"delta": {}},
    lambda text: {"message": {"role": "assistant", "content": text, "refusal": None, "annotations": []}},
    _listed,
)

TEXT = Form(
    "cmpl-",
    "text_completion",
    "text_completion",
    None,
    lambda text: {"text": text},
    {"text": ""},
    lambda text: {"text": text},
    _in_columns,
)


class _Part(msgspec.Struct):
    text: msgspec.Raw
    logprobs: msgspec.Raw


class _Item(msgspec.Struct):
    content: list[_Part]


class _Details(msgspec.Struct):
    cached_tokens: int = 0


class _Usage(msgspec.Struct):
    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: _Details


class _Error(msgspec.Struct):
    code: str
    message: str


class _Told(msgspec.Struct):
    """What is read of a response object."""

    id: str
    created_at: int
    model: str
    status: str
    output: list[_Item] = []
    error: _Error | None = None
    usage: _Usage | None = None


class _Carrying(msgspec.Struct):
    response: _Told


def whole(form: Form, response: bytes, *, fingerprint: str, scored: bool) -> bytes | WireError:
    """Turn an ended response object into the form's own, or into why there is none.

    ``scored``: logprobs were asked for.
    """
    told = msgspec.json.decode(response, type=_Told)
    if told.status == Status.FAILED:
        return failure(told.error)
    parts = [part for item in told.output for part in item.content]
    part = parts[0] if parts else _Part(_EMPTY, msgspec.Raw(b"[]"))
    logprobs = form.logprobs(part.logprobs, 0) if scored else None
    choice = _choice(form.said(part.text), finish_reason(told.status), logprobs)
    return msgspec.json.encode(
        {**_head(form, told, form.whole, fingerprint), "choices": [choice], "usage": _usage(told)}
    )


def finish_reason(status: str) -> str:
    """Say why an answer ended in the words of these APIs: whatever cut it short is ``length``."""
    return "stop" if status == Status.COMPLETED else "length"


_FAILED_AS = {Reason.CONTEXT.value: Code.CONTEXT_LENGTH_EXCEEDED, Reason.QUEUE_TIMEOUT.value: Code.OVERLOADED}


def failure(error: _Error | None) -> WireError:
    """Say a response's failure as a refusal of the request."""
    if error is None:
        return WireError(Code.SERVER_ERROR)
    return WireError(_FAILED_AS.get(error.code, Code.SERVER_ERROR), error.message)


class Chunks:
    """How one stream of chunks is spelled; nothing in it names an event, so it cannot be resumed."""

    resumable = False

    def __init__(self, form: Form, fingerprint: str, *, usage: bool) -> None:
        self._form = form
        self._fingerprint = fingerprint
        self._usage = usage
        self._frame: ChunkFrame | None = None
        self._head: Json = {}

    def frame(self, epoch: int, *, scored: bool) -> DeltaFrame:
        """Return the constant bytes around deltas; known after the first event.  ``scored`` ones carry logprobs."""
        del epoch
        if not self._head:
            raise RuntimeError("a response's first event comes before its deltas")
        if self._frame is None:
            chunk = self._chunk(_choice(self._form.piece(_HERE), None, _THERE if scored else None))
            self._frame = ChunkFrame(chunk, self._form.logprobs if scored else None)
        return self._frame

    def events(self, events: Sequence[Event]) -> Iterator[bytes]:
        """Spell events that are no deltas; most have nothing to say here."""
        for event in events:
            if event.type == _CREATED:
                yield from self._open(_told(event))
            elif event.type in _TERMINAL:
                yield from self._close(_told(event))

    @staticmethod
    def error(error: WireError) -> bytes:
        """Spell what ends the stream before its end; nothing comes after it."""
        return b"data: %b\n\n" % error.http()

    def _open(self, told: _Told) -> Iterator[bytes]:
        self._head = _head(self._form, told, self._form.chunk, self._fingerprint)
        if self._form.opening is not None:
            yield self._chunk(_choice(self._form.opening, None))

    def _close(self, told: _Told) -> Iterator[bytes]:
        if told.status == Status.FAILED:
            yield self.error(failure(told.error))
            return
        yield self._chunk(_choice(self._form.closing, finish_reason(told.status)))
        if self._usage:
            yield _datum({**self._head, "choices": [], "usage": _usage(told)})
        yield DONE

    def _chunk(self, choice: Json) -> bytes:
        usage: Json = {"usage": None} if self._usage else {}
        return _datum({**self._head, "choices": [choice], **usage})


class ChunkFrame(DeltaFrame):
    """The constant bytes around every delta's text; deltas have no number here."""

    __slots__ = ("_after", "_before", "_between", "_logprobs", "_said")

    def __init__(self, chunk: bytes, logprobs: Callable[[msgspec.Raw, int], Json] | None) -> None:
        self._before, _, rest = chunk.partition(msgspec.json.encode(_HERE))
        self._between, _, self._after = rest.partition(msgspec.json.encode(_THERE))
        self._logprobs = logprobs
        self._said = 0
        """Characters in the chunks before; counted only for logprobs."""
        self.overhead = len(chunk)

    def one(self, number: int, text: bytes) -> bytes:
        """Render one delta."""
        del number
        if self._logprobs is None:
            return b'%b"%b"%b' % (self._before, text, self._between)
        text, logprobs = unpacked(text)
        told = msgspec.json.encode(self._logprobs(wire(logprobs), self._said))
        self._said += len(unescape(text.decode()))
        return b'%b"%b"%b%b%b' % (self._before, text, self._between, told, self._after)

    def merged(self, first: int, last: int, text: bytes) -> bytes:
        """Render several deltas as one chunk."""
        del first
        return self.one(last, text)


def _told(event: Event) -> _Told:
    return msgspec.json.decode(event.payload, type=_Carrying).response


def _datum(value: Any) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(value)


def _head(form: Form, told: _Told, kind: str, fingerprint: str) -> Json:
    return {
        "id": form.prefix + told.id.removeprefix("resp_"),
        "object": kind,
        "created": told.created_at,
        "model": told.model,
        "system_fingerprint": fingerprint,
    }


def _choice(said: Json, reason: str | None, logprobs: object = None) -> Json:
    return {"index": 0, **said, "logprobs": logprobs, "finish_reason": reason}


def _usage(told: _Told) -> Json:
    used = told.usage or _Usage(0, 0, 0, _Details())
    return {
        "prompt_tokens": used.input_tokens,
        "completion_tokens": used.output_tokens,
        "total_tokens": used.total_tokens,
        "prompt_tokens_details": {"cached_tokens": used.input_tokens_details.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
