"""JSON Schema of the whole wire: `python -m gateway.protocol_schema > docs/protocol.schema.json`.

Client messages come from the types that the gateway decodes them into, errors from its table.  The shapes of
events stand here; a test renders a log through the gateway's renderer and compares.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import msgspec

from gateway.create import Create
from gateway.errors import TABLE, CloseCode, Code
from gateway.wire import MAX_DEPTH, Cancel, Resume
from shared.request import MOST_LOGPROBS

Schema = dict[str, Any]

_STRING: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_STREAM_ID: Schema = {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,256}$"}
_RESPONSE_ID: Schema = {"type": "string", "pattern": "^resp_[0-9a-f]{35}$"}
_TOKENS: Schema = {"type": "object", "additionalProperties": _COUNT}
_ITEM_ID: Schema = {"type": "string", "pattern": "^msg_[0-9a-f]{35}$"}

_MESSAGES = {"response.create": Create, "response.cancel": Cancel, "response.resume": Resume}

_CLOSES = {
    CloseCode.DONE: "Nothing was in flight: the session's age, or silence. Connect again when needed.",
    CloseCode.GOING_AWAY: "Hard shutdown. Connect again and resume.",
    CloseCode.PROTOCOL: "The frames broke RFC 6455. Not to be tried again.",
    CloseCode.BINARY: "A binary frame. Not to be tried again.",
    CloseCode.BAD_UTF8: "A text frame that is not UTF-8. Not to be tried again.",
    CloseCode.POLICY: "The credential expired or was revoked, or the limits were abused. Not to be tried again.",
    CloseCode.TOO_BIG: "A message beyond the limit; an error event message_too_large came before.",
    CloseCode.INTERNAL: "Something failed in the server. Connect again and resume.",
    CloseCode.RESTART: "The gateway sends its sockets elsewhere, or the socket's age. Connect again and resume.",
    CloseCode.TRY_LATER: "The client read too slowly, or the server has too much to do. Resume after a while.",
}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(fields: Schema, optional: Schema | None = None) -> Schema:
    """Describe an object whose ``fields`` are always there; more may come in later versions."""
    return {"type": "object", "properties": fields | (optional or {}), "required": list(fields)}


def _messages() -> Schema:
    _, parts = msgspec.json.schema_components(_MESSAGES.values(), ref_template="#/$defs/{name}")
    found: Schema = dict(parts)
    for kind, struct in _MESSAGES.items():
        schema: Schema = found.pop(struct.__name__)
        schema["title"] = kind
        schema["properties"] = {"type": {"const": kind}, **schema["properties"]}
        schema["properties"]["stream_id"] = _nullable(_STREAM_ID) | {"default": None}
        schema["required"] = ["type", *schema.get("required", [])]
        found[kind] = schema
    return found


def _errors() -> Schema:
    codes: Schema = {"enum": [code.value for code in Code]}
    kinds: Schema = {"enum": sorted({row.type for row in TABLE.values()})}
    param = _nullable(_STRING)
    body = _object(
        {"type": kinds, "code": codes, "message": _STRING, "param": param}, {"retry_after": _COUNT}
    )
    flat = {"type": {"const": "error"}, "code": codes, "message": _STRING, "param": param}
    event = {"type": {"const": "error"}, "status": _COUNT, "error": _ref("error_body")}
    return {
        "error_body": body,
        "error": _object(event, {"stream_id": _STREAM_ID, "event_id": _STRING}),
        "http_error": _object({"error": _ref("error_body")}),
        "sse_error": _object(flat),
    }


def _response_object() -> Schema:
    counts = {"input_tokens": _COUNT, "output_tokens": _COUNT, "total_tokens": _COUNT}
    details = {
        "input_tokens_details": _object({"cached_tokens": _COUNT, "cache_write_tokens": _COUNT}),
        "output_tokens_details": _object({"reasoning_tokens": _COUNT}),
    }
    status = {"enum": ["queued", "in_progress", "completed", "incomplete", "cancelled", "failed"]}
    error = _object({"code": _STRING, "message": _STRING})
    reasons = {"enum": ["max_output_tokens", "time_limit", "log_limit"]}
    fields: Schema = {
        "id": _RESPONSE_ID,
        "object": {"const": "response"},
        "created_at": _COUNT,
        "status": status,
        "model": _STRING,
        "output": {"type": "array", "items": _ref("item"), "maxItems": 1},
        "error": _nullable(error),
        "incomplete_details": _nullable(_object({"reason": reasons})),
        "usage": _nullable(_ref("usage")),
        "metadata": {"type": "object", "additionalProperties": _STRING},
        "temperature": {"type": "number"},
        "top_p": {"type": "number"},
        "seed": {"type": "integer"},
        "frequency_penalty": {"type": "number"},
        "presence_penalty": {"type": "number"},
        "top_logprobs": _COUNT,
        "parallel_tool_calls": {"const": False},
        "tool_choice": {"const": "none"},
        "tools": {"const": []},
        "previous_response_id": _nullable(_STRING),
        "store": {"type": "boolean"},
        "text": {"type": "object"},
        "truncation": {"const": "disabled"},
        "background": _nullable({"type": "boolean"}),
        "instructions": _nullable(_STRING),
        "max_output_tokens": _nullable(_COUNT),
        "user": _nullable(_STRING),
    }
    queued = {"place": _COUNT, "wait_seconds": _nullable(_COUNT)}
    return {"response": _object(fields, queued), "usage": _object(counts | details)}


def _parts() -> Schema:
    part = {
        "type": {"const": "output_text"},
        "text": _STRING,
        "annotations": {"type": "array"},
        "logprobs": {"type": "array", "items": _ref("logprob")},
    }
    token: Schema = {
        "token": _STRING,
        "logprob": {"type": "number", "maximum": 0},
        "bytes": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}},
    }
    likeliest = {"type": "array", "items": _object(token), "maxItems": MOST_LOGPROBS}
    logprob = token | {"top_logprobs": likeliest}
    item = {
        "id": _ITEM_ID,
        "type": {"const": "message"},
        "role": {"const": "assistant"},
        "status": {"enum": ["in_progress", "completed", "incomplete"]},
        "content": {"type": "array", "items": _ref("part"), "maxItems": 1},
    }
    return {"part": _object(part), "item": _object(item), "logprob": _object(logprob)}


def _completions() -> Schema:
    """Describe the answers of the two older APIs."""
    counts = {"prompt_tokens": _COUNT, "completion_tokens": _COUNT, "total_tokens": _COUNT}
    details = {"prompt_tokens_details": _TOKENS, "completion_tokens_details": _TOKENS}
    usage = _object(counts | details)
    message = _object({"role": {"const": "assistant"}, "content": _STRING, "refusal": {"type": "null"}})
    delta = _object({}, {"role": {"const": "assistant"}, "content": _STRING, "refusal": {"type": "null"}})
    whole = {"usage": _ref("completion_usage")}
    piece = {"usage": _nullable(_ref("completion_usage"))}
    reason: Schema = {"enum": ["stop", "length"]}
    listed = _object({"content": {"type": "array", "items": _ref("logprob")}, "refusal": {"type": "null"}})
    numbers: Schema = {"type": "array", "items": {"type": "number", "maximum": 0}}
    top: Schema = {"type": "array", "items": {"type": "object", "additionalProperties": {"type": "number"}}}
    columns = _object(
        {
            "tokens": {"type": "array", "items": _STRING},
            "token_logprobs": numbers,
            "top_logprobs": top,
            "text_offset": {"type": "array", "items": _COUNT},
        }
    )
    chat = _completion("chatcmpl", "chat.completion", {"message": message}, reason, listed)
    chunk = _completion("chatcmpl", "chat.completion.chunk", {"delta": delta}, _nullable(reason), listed)
    text = _completion("cmpl", "text_completion", {"text": _STRING}, _nullable(reason), columns)
    return {
        "completion_usage": usage,
        "chat.completion": _object(chat | whole),
        "chat.completion.chunk": _object(chunk, piece),
        "text_completion": _object(text, piece),
    }


def _completion(prefix: str, kind: str, said: Schema, reason: Schema, logprobs: Schema) -> Schema:
    choice = {
        "index": {"const": 0},
        **said,
        "logprobs": _nullable(logprobs),
        "finish_reason": reason,
    }
    return {
        "id": {"type": "string", "pattern": f"^{prefix}-[0-9a-f]{{35}}$"},
        "object": {"const": kind},
        "created": _COUNT,
        "model": _STRING,
        "system_fingerprint": _STRING,
        "choices": {"type": "array", "items": _object(choice), "maxItems": 1},
    }


def _lists() -> Schema:
    """Describe what is listed, what is left of a deleted response, and a ticket."""
    model = {"id": _STRING, "object": {"const": "model"}, "created": _COUNT, "owned_by": _STRING}
    part = {"type": {"enum": ["input_text", "output_text"]}, "text": _STRING}
    item = {
        "id": {"type": "string", "pattern": "^msg_[0-9a-f]{35}_[0-9]+$"},
        "type": {"const": "message"},
        "role": {"enum": ["system", "user", "assistant"]},
        "status": {"const": "completed"},
        "content": {"type": "array", "items": _object(part)},
    }
    ends = {"first_id": _nullable(_STRING), "last_id": _nullable(_STRING), "has_more": {"type": "boolean"}}
    return {
        "ws_ticket": _object({"object": {"const": "ws_ticket"}, "ticket": _STRING, "expires_in": _COUNT}),
        "model": _object(model),
        "models": _object(_list("model")),
        "input_item": _object(item),
        "input_items": _object(_list("input_item") | ends),
        "deleted": _object({"id": _RESPONSE_ID, "object": {"const": "response"}, "deleted": {"const": True}}),
    }


def _list(name: str) -> Schema:
    return {"object": {"const": "list"}, "data": {"type": "array", "items": _ref(name)}}


def _events() -> dict[str, Schema]:
    response = {"response": _ref("response")}
    at = {"output_index": {"const": 0}}
    place = {"item_id": _ITEM_ID, **at, "content_index": {"const": 0}}
    logprobs = {"logprobs": {"type": "array", "items": _ref("logprob")}}
    bodies: dict[str, Schema] = {
        "response.created": response,
        "response.in_progress": response,
        "response.output_item.added": at | {"item": _ref("item")},
        "response.content_part.added": place | {"part": _ref("part")},
        "response.output_text.delta": place | {"delta": _STRING} | logprobs,
        "response.output_text.done": place | {"text": _STRING} | logprobs,
        "response.content_part.done": place | {"part": _ref("part")},
        "response.output_item.done": at | {"item": _ref("item")},
        "response.completed": response,
        "response.incomplete": response,
        "response.failed": response,
    }
    return {kind: _event(kind, body) for kind, body in bodies.items()}


def _event(kind: str, body: Schema) -> Schema:
    optional: Schema = {"stream_id": _STREAM_ID}
    if kind == "response.output_text.delta":
        optional["first_sequence_number"] = _COUNT
    numbered = {"type": {"const": kind}, "sequence_number": _COUNT, **body, "epoch": _COUNT}
    return {"title": kind, **_object(numbered, optional)}


def schema() -> Schema:
    """Return one document: definitions, and the tables of errors and close codes."""
    events, messages = _events(), _messages()
    shown = {"client message": list(_MESSAGES), "server event": [*events, "error"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tokenwire: the wire",
        "description": "Made from the code by python -m gateway.protocol_schema; see protocol.md.",
        "$defs": {
            **messages,
            **events,
            **_errors(),
            **_response_object(),
            **_parts(),
            **_completions(),
            **_lists(),
            "response_id": _RESPONSE_ID,
            **{
                name.replace(" ", "_"): {"anyOf": [_ref(kind) for kind in kinds]}
                for name, kinds in shown.items()
            },
        },
        "x-max-depth": MAX_DEPTH,
        "x-errors": {
            code.value: {"status": row.status, "type": row.type, "message": row.sentence}
            for code, row in TABLE.items()
        },
        "x-close-codes": {str(int(code)): _CLOSES[code] for code in CloseCode},
    }


def render() -> str:
    """Render the document as it is committed."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render())
