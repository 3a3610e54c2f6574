"""The HTTP side of the wire as an OpenAPI document: `python -m gateway.openapi > docs/openapi.json`.

Bodies and queries come from the types that they are decoded into, answers from the published JSON Schema.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.completions import Chat, Completion
from gateway.create import Create
from gateway.diagnostics import Diagnosis
from gateway.items import Paging
from gateway.page_times import Report
from gateway.protocol_schema import schema
from gateway.wire import Replay, TicketAsked

Json = dict[str, Any]

PATH = "/v1/openapi.json"
_AT = "#/components/schemas/"
_BODIES = (Create, Chat, Completion, Report, TicketAsked)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    name: str
    summary: str
    answer: str = ""
    """Name of what it answers with; nothing if there is no body."""
    stream: str = ""
    """What the data of its server-sent events are, if it has such."""
    body: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] | None = None
    body_required: bool = True
    status: str = "200"
    leads_to: tuple[str, ...] = ()
    """Names of the operations that take the id it answers with."""


_OF_A_RESPONSE = ("getResponse", "listInputItems", "cancelResponse", "deleteResponse")
_RESPONSE = "/v1/responses/{response_id}"

OPERATIONS = (
    Operation(
        "post",
        "/v1/responses",
        "createResponse",
        "Ask for a response: whole, as a stream, or in the background.",
        "response",
        "server_event",
        Create,
        leads_to=_OF_A_RESPONSE,
    ),
    Operation(
        "get",
        "/v1/responses",
        "openSocket",
        "Open a WebSocket (with an upgrade; see protocol.md).",
        status="101",
    ),
    Operation(
        "get",
        _RESPONSE,
        "getResponse",
        "Read a response as it stands, or its events from a number on.",
        "response",
        "server_event",
        query=Replay,
    ),
    Operation("delete", _RESPONSE, "deleteResponse", "End a response and remove all of it.", "deleted"),
    Operation("post", f"{_RESPONSE}/cancel", "cancelResponse", "End a response and return it.", "response"),
    Operation(
        "get",
        f"{_RESPONSE}/input_items",
        "listInputItems",
        "List what the model was given to read.",
        "input_items",
        query=Paging,
    ),
    Operation(
        "post",
        "/v1/chat/completions",
        "createChatCompletion",
        "Ask for the next message of a chat.",
        "chat.completion",
        "chat.completion.chunk",
        Chat,
    ),
    Operation(
        "post",
        "/v1/completions",
        "createCompletion",
        "Ask for what follows a text.",
        "text_completion",
        "text_completion",
        Completion,
    ),
    Operation("get", "/v1/models", "listModels", "List the models that are served.", "models"),
    Operation("get", "/v1/models/{model}", "getModel", "Read one model.", "model"),
    Operation(
        "post",
        "/v1/page/times",
        "reportPageTimes",
        "Report what people felt, as a page measured it.",
        body=Report,
        status="204",
    ),
    Operation(
        "get",
        "/v1/diagnostics",
        "diagnose",
        "See what arrived, and a paced stream whose events say when they were sent.",
        query=Diagnosis,
    ),
    Operation(
        "post",
        "/v1/ws-tickets",
        "createTicket",
        "Get what lets a page open one WebSocket, since it cannot send a header there.",
        "ws_ticket",
        body=TicketAsked,
        body_required=False,
    ),
    Operation("get", PATH, "getOpenapi", "Read this document.", "openapi"),
)


def document() -> Json:
    """Return the whole document."""
    paths: dict[str, Json] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tokenwire",
            "version": "1",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "Made from the code by python -m gateway.openapi; see protocol.md.",
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "responses": {
                "refused": {
                    "description": "A refusal; error.code says why.",
                    "content": _content("http_error"),
                }
            },
        },
    }


def _operation(operation: Operation) -> Json:
    made: Json = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [*_in_path(operation.path), *_in_query(operation.query)],
        "responses": {
            operation.status: _answer(operation),
            **{status: {"$ref": "#/components/responses/refused"} for status in ("4XX", "5XX")},
        },
    }
    if operation.body is not None:
        made["requestBody"] = {
            "required": operation.body_required,
            "content": _content(operation.body.__name__),
        }
    return made


def _answer(operation: Operation) -> Json:
    if not operation.answer:
        return {"description": operation.summary}
    content = _content(operation.answer)
    if operation.stream:
        content["text/event-stream"] = {"schema": _event(operation.stream)}
    links = {
        name: {"operationId": name, "parameters": {"response_id": "$response.body#/id"}}
        for name in operation.leads_to
    }
    return {"description": operation.summary, "content": content, **({"links": links} if links else {})}


def _event(name: str) -> Json:
    """Describe one server-sent event.  Streams of chunks end with ``[DONE]``, or with an error as HTTP has it."""
    in_chunks = name != "server_event"
    told = [{"$ref": _AT + each} for each in (name, "http_error" if in_chunks else "sse_error")]
    data: Json = {"type": "string", "contentMediaType": "application/json", "contentSchema": {"anyOf": told}}
    if in_chunks:
        data = {"anyOf": [{"const": "[DONE]"}, data]}
    fields = {"data": data, "event": {"type": "string"}, "id": {"type": "string"}}
    return {"type": "object", "properties": fields, "required": ["data"]}


def _content(name: str) -> Json:
    return {"application/json": {"schema": {"$ref": _AT + name}}}


def _in_path(path: str) -> list[Json]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    kinds = {"response_id": {"$ref": f"{_AT}response_id"}}
    return [
        {"name": name, "in": "path", "required": True, "schema": kinds.get(name, {"type": "string"})}
        for name in names
    ]


def _in_query(kind: type[msgspec.Struct] | None) -> list[Json]:
    if kind is None:
        return []
    _, found = msgspec.json.schema_components([kind], ref_template=_AT + "{name}")
    fields: Json = found[kind.__name__]["properties"]
    return [{"name": name, "in": "query", "schema": field} for name, field in fields.items()]


def _schemas() -> Json:
    _, bodies = msgspec.json.schema_components(_BODIES, ref_template=_AT + "{name}")
    published = _moved(schema()["$defs"])
    return {**published, **bodies, "openapi": {"type": "object"}}


def _moved(value: Any) -> Any:
    """Say where definitions lie in this document."""
    if isinstance(value, dict):
        return {
            name: each.replace("#/$defs/", _AT) if name == "$ref" else _moved(each)
            for name, each in value.items()
        }
    return [_moved(each) for each in value] if isinstance(value, list) else value


def render() -> str:
    """Render the document as it is committed and served."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render())
