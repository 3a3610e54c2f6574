"""Where a gateway listens, what is said to it, and how its frames are read; pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

Event = Mapping[str, Any]
Message = dict[str, object]

ENDINGS = frozenset({"response.completed", "response.incomplete", "response.failed"})
DELTA = "response.output_text.delta"

MALFORMED: Event = {"type": "malformed"}
"""What a frame that breaks the protocol is read as."""


def socket_url(base_url: str) -> str:
    """Return the socket's address for a base URL, with or without its ``/v1``.  Raises ValueError."""
    parts = _http(base_url)
    path = parts.path.rstrip("/").removesuffix("/v1")
    scheme = {"http": "ws", "https": "wss"}[parts.scheme]
    return parts._replace(scheme=scheme, path=f"{path}/v1/responses").geturl()


def is_local(base_url: str) -> bool:
    """Say whether a base URL names this machine, which no proxy should be asked for."""
    return _http(base_url).hostname in {"127.0.0.1", "::1", "localhost"}


def headers(api_key: str | None) -> dict[str, str]:
    """Return the headers that show a key.  Raises ValueError if it cannot stand in one; the key is not repeated."""
    if api_key is None:
        return {}
    if not (api_key.isascii() and api_key.isprintable()):
        raise ValueError("The API key has a line end or a letter that is not ASCII: copy it anew.")
    return {"Authorization": f"Bearer {api_key}"}


def _http(base_url: str) -> SplitResult:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{base_url} is no base URL: it begins with http:// or https:// and names a host.")
    return parts


def create(request: Mapping[str, object], key: str) -> Message:
    """Ask for a response; the same key never asks for a second one."""
    return {**request, "type": "response.create", "event_id": key, "idempotency_key": key}


def resume(response_id: str, last: int, epoch: int | None, event_id: str) -> Message:
    """Ask for what comes after event ``last``, which was written under ``epoch``."""
    message: Message = {
        "type": "response.resume",
        "event_id": event_id,
        "response_id": response_id,
        "starting_after": last,
    }
    return message if epoch is None else message | {"epoch": epoch}


def cancel(response_id: str, event_id: str) -> Message:
    """Stop a response; its ending follows as an event."""
    return {"type": "response.cancel", "event_id": event_id, "response_id": response_id}


def read(frame: str | bytes) -> Event:
    """Read one frame; what is no event of this protocol becomes ``MALFORMED``."""
    if not isinstance(frame, str):
        return MALFORMED
    try:
        event = json.loads(frame)
    except (ValueError, RecursionError):
        return MALFORMED
    return event if isinstance(event, dict) and _sound(event) else MALFORMED


def _sound(event: Event) -> bool:
    """Say whether an event holds what its reader relies on."""
    kind = event.get("type")
    if not isinstance(kind, str):
        return False
    if kind == "error":
        error = event.get("error")
        return isinstance(error, dict) and isinstance(error.get("message"), str)
    if "sequence_number" not in event:
        return not (kind == DELTA or kind in ENDINGS)
    return _numbered(event) and _filled(event, kind)


def _numbered(event: Event) -> bool:
    last = event["sequence_number"]
    first = event.get("first_sequence_number", last)
    epoch = event.get("epoch", 0)
    return all(type(number) is int and number >= 0 for number in (last, first, epoch)) and first <= last


def _filled(event: Event, kind: str) -> bool:
    if kind == DELTA:
        return isinstance(event.get("delta"), str)
    if kind in ENDINGS or kind in ("response.created", "response.in_progress"):
        response = event.get("response")
        return isinstance(response, dict) and isinstance(response.get("id"), str)
    return True
