"""The API's response object, built from the request and from what the whole log says; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

import msgspec

from shared.log import STATUS_OF, Entry, Kind, Reason, Status
from shared.logprobs import join, wire
from shared.request import Request

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a whole log says: the text so far, the counts, and how it ended if it did."""

    text: str = ""
    """JSON-escaped."""
    logprobs: str = ""
    """Of all tokens, as ``shared.logprobs`` spells them."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    started: bool = False
    marked: str = ""
    """How later owners differed from the first, if they did."""
    ended: Entry | None = None

    @property
    def status(self) -> Status:
        """Where the log stands."""
        if self.ended is not None:
            return STATUS_OF[reason_of(self.ended)]
        return Status.RUNNING if self.started else Status.QUEUED


def reason_of(ending: Entry) -> Reason:
    """Return why a response ended; an ending that does not say so counts as a failure."""
    return ending.reason or Reason.ERROR


def snapshot(entries: Iterable[Entry]) -> Snapshot:
    """Sum up a whole log."""
    texts: list[str] = []
    logprobs: list[str] = []
    marks: list[str] = []
    prompt = cached = generated = 0
    started = False
    ended = None
    for entry in entries:
        generated += len(entry.ids)
        prompt, cached = prompt or entry.prompt_tokens, cached or entry.cached_tokens
        match entry.kind:
            case Kind.QUEUED:
                pass
            case Kind.STARTED:
                started = True
            case Kind.DELTA:
                texts.append(entry.text)
                logprobs.append(entry.logprobs)
            case Kind.HANDED:
                marks += [entry.marked] if entry.marked else []
            case Kind.ENDED:
                ended = entry
            case _:
                assert_never(entry.kind)
    return Snapshot(
        "".join(texts), join(logprobs), prompt, cached, generated, started, "; ".join(marks), ended
    )


_WIRE_STATUS = {Status.RUNNING: "in_progress"}
"""Where the wire's word differs from ours."""

_ANSWERED_AS = ("background", "instructions", "max_output_tokens", "previous_response_id", "user")
"""Fields shown as they were asked, or null."""


def response_object(request: Request, created_ms: int, told: Snapshot) -> Json:
    """Build the response object of a log; ``output`` is empty until the first claim."""
    status = told.status
    body: Json = {
        "id": request.response_id,
        "object": "response",
        "created_at": created_ms // 1000,
        "status": _WIRE_STATUS.get(status, status.value),
        "model": request.model,
        "output": [item(request.response_id, told)] if told.started else [],
        "error": _error(told),
        "incomplete_details": _incomplete_details(told),
        "usage": usage(told) if status.terminal else None,
        "metadata": _metadata(request, told),
        "temperature": request.sampling.temperature,
        "top_p": request.sampling.top_p,
        "seed": request.sampling.seed,
        "frequency_penalty": request.sampling.frequency_penalty,
        "presence_penalty": request.sampling.presence_penalty,
        "top_logprobs": request.sampling.top_logprobs or 0,
        "store": request.echo.get("store", True),
        "parallel_tool_calls": False,
        "text": request.echo.get("text", {"format": {"type": "text"}}),
        "tool_choice": "none",
        "tools": [],
        "truncation": "disabled",
    }
    return body | {name: request.echo.get(name) for name in _ANSWERED_AS}


def item_id(response_id: str) -> str:
    """Return the id of the response's only output item."""
    return "msg_" + response_id.removeprefix("resp_")


def item(response_id: str, told: Snapshot) -> Json:
    """Build the output item as far as the log goes."""
    status = {Status.RUNNING: "in_progress", Status.COMPLETED: "completed"}.get(told.status, "incomplete")
    fresh = told.ended is None and not told.text
    return {
        "id": item_id(response_id),
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [] if fresh else [part(told)],
    }


def part(told: Snapshot) -> Json:
    """Build the only content part."""
    return {"type": "output_text", "text": raw_text(told), "annotations": [], "logprobs": wire(told.logprobs)}


def raw_text(told: Snapshot) -> msgspec.Raw:
    """Return the text as a JSON string, byte by byte what the deltas were."""
    return msgspec.Raw(b'"%b"' % told.text.encode())


def usage(told: Snapshot) -> Json:
    """Count tokens from the log alone; a response that never started used none."""
    return {
        "input_tokens": told.prompt_tokens,
        "input_tokens_details": {"cached_tokens": told.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": told.generated_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": told.prompt_tokens + told.generated_tokens,
    }


def _error(told: Snapshot) -> Json | None:
    if told.ended is None or told.status is not Status.FAILED:
        return None
    reason = reason_of(told.ended)
    return {"code": reason.value, "message": told.ended.message or SENTENCES[reason]}


def _incomplete_details(told: Snapshot) -> Json | None:
    if told.ended is None or told.status is not Status.INCOMPLETE:
        return None
    return {"reason": reason_of(told.ended).value}


def _metadata(request: Request, told: Snapshot) -> Json:
    asked = request.echo.get("metadata")
    metadata: Json = dict(asked) if isinstance(asked, dict) else {}
    return metadata | {"tokenwire.continued_by": told.marked} if told.marked else metadata


SENTENCES = {
    Reason.QUEUE_TIMEOUT: "No worker had room before the time allowed for waiting was over.",
    Reason.WORKER_LOST: "Too many workers died while they computed this response.",
    Reason.LOG_LOST: "The store lost the log of this response.",
    Reason.CONTEXT: "The input is longer than the model can read.",
    Reason.ERROR: "The engine failed on this response.",
}
"""What a failure says where the log has no sentence of its own."""
