"""What goes wrong on the wire, as data: error codes with status, type and sentence, and close codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from types import MappingProxyType

import msgspec


class Code(StrEnum):
    """Names of errors; a client may branch on them, so they never change."""

    INVALID_JSON = "invalid_json"
    INVALID_REQUEST = "invalid_request"
    UNSUPPORTED_EVENT = "unsupported_event"
    UNSUPPORTED_PARAMETER = "unsupported_parameter"
    INVALID_STREAM_ID = "invalid_stream_id"
    CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
    STARTING_AFTER_OUT_OF_RANGE = "starting_after_out_of_range"
    CONNECTION_LIMIT = "websocket_connection_limit_reached"
    INVALID_API_KEY = "invalid_api_key"
    ORIGIN_NOT_ALLOWED = "origin_not_allowed"
    PREVIOUS_RESPONSE_NOT_FOUND = "previous_response_not_found"
    HTTPS_REQUIRED = "https_required"
    MODEL_NOT_FOUND = "model_not_found"
    RESPONSE_NOT_FOUND = "response_not_found"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    RESPONSE_NOT_ACTIVE = "response_not_active"
    LANE_BUSY = "lane_busy"
    RESUME_UNAVAILABLE = "resume_unavailable"
    MESSAGE_TOO_LARGE = "message_too_large"
    REQUEST_TIMEOUT = "request_timeout"
    UPGRADE_REQUIRED = "upgrade_required"
    RATE_LIMIT_EXCEEDED = "rate_limit_exceeded"
    STREAM_LIMIT = "websocket_stream_limit_reached"
    TOO_MANY_ACTIVE = "too_many_active_responses"
    OVERLOADED = "overloaded"
    NO_WORKER = "no_worker"
    STORAGE_FULL = "storage_full"
    SERVER_DRAINING = "server_draining"
    BACKEND_UNAVAILABLE = "backend_unavailable"
    SERVER_ERROR = "server_error"


@dataclass(frozen=True, slots=True)
class Row:
    """What the table says of one code."""

    status: int
    type: str
    sentence: str
    retry_after: int | None = None
    """Seconds after which asking again makes sense, where nobody knows better."""


_BAD = "invalid_request_error"
_RATE = "rate_limit_error"
_OURS = "server_error"

TABLE: Mapping[Code, Row] = MappingProxyType(
    {
        Code.INVALID_JSON: Row(400, _BAD, "The message is not one JSON object in UTF-8."),
        Code.INVALID_REQUEST: Row(400, _BAD, "A field has a value that is not allowed."),
        Code.UNSUPPORTED_EVENT: Row(400, _BAD, "This type of message is not known here."),
        Code.UNSUPPORTED_PARAMETER: Row(400, _BAD, "This field is supported at its neutral value only."),
        Code.INVALID_STREAM_ID: Row(
            400, _BAD, "A stream_id is 1 to 256 characters out of letters, digits, '_', '.' and '-'."
        ),
        Code.CONTEXT_LENGTH_EXCEEDED: Row(400, _BAD, "The input is longer than the model can read."),
        Code.STARTING_AFTER_OUT_OF_RANGE: Row(400, _BAD, "The response has no event after this number."),
        Code.CONNECTION_LIMIT: Row(400, _BAD, "This socket has reached its age; open a new one."),
        Code.INVALID_API_KEY: Row(401, _BAD, "No valid API key was given."),
        Code.ORIGIN_NOT_ALLOWED: Row(403, _BAD, "This page may not use this server; see ORIGINS."),
        Code.PREVIOUS_RESPONSE_NOT_FOUND: Row(
            400, _BAD, "There is no such previous response, or it was not stored, failed or has expired."
        ),
        Code.HTTPS_REQUIRED: Row(403, _BAD, "This server is for https and wss only; see HTTPS_ONLY."),
        Code.MODEL_NOT_FOUND: Row(404, _BAD, "There is no such model here; GET /v1/models lists them."),
        Code.RESPONSE_NOT_FOUND: Row(404, _BAD, "There is no such response, or it has expired."),
        Code.NOT_FOUND: Row(404, _BAD, "There is nothing at this path."),
        Code.METHOD_NOT_ALLOWED: Row(405, _BAD, "This path does not take this method."),
        Code.RESPONSE_NOT_ACTIVE: Row(409, _BAD, "The response has ended already, or none is running."),
        Code.LANE_BUSY: Row(409, _BAD, "Too many messages wait on this lane."),
        Code.RESUME_UNAVAILABLE: Row(
            410, _BAD, "What was shown of this response can't be continued: its log expired or was lost."
        ),
        Code.MESSAGE_TOO_LARGE: Row(413, _BAD, "The request is larger than this server takes."),
        Code.REQUEST_TIMEOUT: Row(408, _BAD, "The request did not arrive in time."),
        Code.UPGRADE_REQUIRED: Row(426, _BAD, "GET this path with an upgrade to WebSocket, or POST to it."),
        Code.RATE_LIMIT_EXCEEDED: Row(429, _RATE, "Too many messages in a minute on this socket.", 1),
        Code.STREAM_LIMIT: Row(429, _RATE, "Too many lanes on this socket."),
        Code.TOO_MANY_ACTIVE: Row(429, _RATE, "Too many responses are running on this socket.", 1),
        Code.OVERLOADED: Row(503, _OURS, "Too many requests wait already; try again later.", 5),
        Code.NO_WORKER: Row(503, _OURS, "No worker is there to serve this; try again later.", 10),
        Code.STORAGE_FULL: Row(503, _OURS, "The server's memory is full; try again later.", 5),
        Code.SERVER_DRAINING: Row(503, _OURS, "This server is about to stop; connect again.", 1),
        Code.BACKEND_UNAVAILABLE: Row(503, _OURS, "The store behind this server does not answer.", 2),
        Code.SERVER_ERROR: Row(500, _OURS, "Something failed in the server."),
    }
)


@dataclass(frozen=True, slots=True)
class WireError:
    """One error as a client sees it; without ``message`` it says the table's sentence."""

    code: Code
    message: str = ""
    param: str | None = None
    event_id: str | None = None
    retry_after: int | None = None
    """Seconds after which asking again makes sense."""
    extra: tuple[tuple[str, str], ...] = ()
    """Headers that go with it in an HTTP answer."""

    def __post_init__(self) -> None:
        """Take the table's time where none is given."""
        if self.retry_after is None:
            object.__setattr__(self, "retry_after", TABLE[self.code].retry_after)

    @property
    def status(self) -> int:
        """Return the HTTP status."""
        return TABLE[self.code].status

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers that go with the error in an HTTP answer."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return headers | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {}) | dict(self.extra)

    def with_headers(self, headers: Mapping[str, str]) -> WireError:
        """Return the same error with more headers."""
        return replace(self, extra=(*self.extra, *headers.items()))

    def about(self, event_id: str | None) -> WireError:
        """Return the same error as an answer to the client's message ``event_id``."""
        return replace(self, event_id=event_id)

    def body(self) -> dict[str, object]:
        """Return the inner object that HTTP bodies and socket events share."""
        row = TABLE[self.code]
        body: dict[str, object] = {
            "type": row.type,
            "code": self.code.value,
            "message": self.message or row.sentence,
            "param": self.param,
        }
        if self.retry_after is not None:
            body["retry_after"] = self.retry_after
        return body

    def http(self) -> bytes:
        """Render the body of an HTTP answer."""
        return msgspec.json.encode({"error": self.body()})

    def event(self, stream_id: str | None) -> bytes:
        """Render the socket's ``error`` event."""
        event: dict[str, object] = {"type": "error", "status": self.status, "error": self.body()}
        if stream_id is not None:
            event["stream_id"] = stream_id
        if self.event_id is not None:
            event["event_id"] = self.event_id
        return msgspec.json.encode(event)

    def datum(self) -> bytes:
        """Render the flat ``error`` event of a server-sent stream."""
        body = self.body()
        flat = {"code": body["code"], "message": body["message"], "param": body["param"]}
        return msgspec.json.encode({"type": "error", **flat})


_BY_STATUS: Mapping[int, Code] = MappingProxyType(
    {
        404: Code.NOT_FOUND,
        405: Code.METHOD_NOT_ALLOWED,
        413: Code.MESSAGE_TOO_LARGE,
        414: Code.MESSAGE_TOO_LARGE,
        426: Code.UPGRADE_REQUIRED,
        431: Code.MESSAGE_TOO_LARGE,
        500: Code.SERVER_ERROR,
        503: Code.SERVER_DRAINING,
    }
)


def library_refusal(status: int, sentence: str) -> bytes:
    """Render the body for a refusal that a library at the door has decided on."""
    return WireError(_BY_STATUS.get(status, Code.INVALID_REQUEST), sentence).http()


class RefusedError(Exception):
    """Raised by checks on outside input; carries the answer."""

    def __init__(self, error: WireError) -> None:
        super().__init__(error.code.value)
        self.error = error


class CloseCode(IntEnum):
    """Close codes (RFC 6455 section 7.4) as used here; SDKs reconnect after 1001, 1011, 1012 and 1013.

    Never 1000 while a response runs: SDKs would take the answer as whole.  Never 4xxx for what a client
    should try again: SDKs take these as final.
    """

    DONE = 1000
    GOING_AWAY = 1001
    PROTOCOL = 1002
    BINARY = 1003
    BAD_UTF8 = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL = 1011
    RESTART = 1012
    TRY_LATER = 1013


RESUMABLE = frozenset({CloseCode.GOING_AWAY, CloseCode.RESTART, CloseCode.TRY_LATER})
"""Closes after which running responses wait for their reader to come back, whatever their ``keep``."""
