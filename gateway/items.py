"""What a response had the model read, as the API lists it; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.errors import Code, RefusedError, WireError
from gateway.history import said_to
from gateway.response import Json
from shared.request import Request


class Paging(msgspec.Struct, frozen=True):
    """Which of the items are asked for."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"
    after: str | UnsetType = UNSET
    """Id of an item: only those behind it, in the order asked for."""


def input_items(request: Request) -> list[Json]:
    """Return the messages before the answer, oldest first, those of earlier responses too."""
    stem = request.response_id.removeprefix("resp_")
    return [
        {
            "id": f"msg_{stem}_{at}",
            "type": "message",
            "role": message.role,
            "status": "completed",
            "content": [_part(message.role, message.text)],
        }
        for at, message in enumerate(said_to(request))
    ]


def page_of(items: Sequence[Json], paging: Paging) -> Json:
    """Return one page of a list.  Raises RefusedError if ``after`` names none of its items."""
    ordered = list(items) if paging.order == "asc" else list(reversed(items))
    begin = 0
    if paging.after is not UNSET:
        ids = [item["id"] for item in ordered]
        if paging.after not in ids:
            raise RefusedError(WireError(Code.INVALID_REQUEST, "There is no such item.", "after"))
        begin = ids.index(paging.after) + 1
    data = ordered[begin : begin + paging.limit]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": begin + paging.limit < len(ordered),
    }


def _part(role: str, text: str) -> Json:
    if role == "assistant":
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "input_text", "text": text}
