"""The HTTP door: the Responses API as JSON and server-sent events, the models, and the page."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.admission import Accepted, refusal, repeated
from gateway.attachment import Attachment, Reader
from gateway.auth import Doorkeeper, Knock
from gateway.connection import Desk
from gateway.create import Create, idempotency_key
from gateway.drain import Drain
from gateway.errors import Code, RefusedError, WireError
from gateway.metrics import Asking, Resuming, Viewing
from gateway.models import Models, listing
from gateway.page import Page
from gateway.principal import Principal
from gateway.response import response_object, snapshot
from gateway.streams import Close, Collector, EventStream, StreamReader, WholeResponse, refused
from gateway.wire import is_response_id, parse_body
from shared.store.contract import Followed, GatewayStore, Refused

BODY_BYTES = 256 * 1024
BODY_SECONDS = 10.0

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(slots=True)
class Http:
    """Answers HTTP requests."""

    desk: Desk
    store: GatewayStore
    models: Models
    doorkeeper: Doorkeeper
    page: Page

    def application(self) -> ASGIApp:
        """Build the ASGI application."""
        routes = [
            Route("/v1/models", self._guarded(self.list_models)),
            Route("/v1/models/{model:path}", self._guarded(self.show_model)),
            Route("/v1/responses", self._guarded(self.create), methods=["POST"]),
            Route("/v1/responses", self._guarded(self.ask_for_upgrade), methods=["GET"]),
            Route("/v1/responses/{response_id}", self._guarded(self.retrieve)),
            Route("/v1/responses/{response_id}/cancel", self._guarded(self.cancel), methods=["POST"]),
            Route("/v1/{rest:path}", self._guarded(self.nothing), methods=["GET", "POST", "PUT", "DELETE"]),
            Mount("/", self.page),
        ]
        app = Starlette(
            routes=routes,
            exception_handlers={
                RefusedError: self._refused,
                HTTPException: _failed,
                ClientDisconnect: _nobody_there,
                Exception: _broken,
            },
        )
        return with_headers(app, self.desk.drain)

    # ---- the API ----

    async def list_models(self, _: Request) -> Response:
        """``GET /v1/models``."""
        return _json(listing(self.models.announced))

    async def show_model(self, request: Request) -> Response:
        """``GET /v1/models/{model}``."""
        data = listing(self.models.announced)["data"]
        for model in data if isinstance(data, list) else []:
            if model["id"] == request.path_params["model"]:
                return _json(model)
        raise RefusedError(WireError(Code.MODEL_NOT_FOUND, param="model"))

    async def create(self, request: Request) -> Response:
        """``POST /v1/responses``: a stream, the whole response, or the promise of one (background)."""
        desk, asked_at = self.desk, self.desk.clock()
        self._refuse_if_draining()
        create = parse_body(await _body(request))
        if isinstance(create, WireError):
            raise RefusedError(create)
        principal = _principal(request)
        watches = bool(create.stream) or not create.background
        watcher = desk.hub.watcher() if watches else None
        # Clients of this API take a broken connection as a stop, so nothing is kept unless they ask.
        accepted = await desk.admission.submit(create, principal, watcher, keep=0.0)
        if isinstance(accepted, WireError):
            raise RefusedError(accepted)
        if watcher is None:
            return await self._object(accepted.response_id, principal)
        return self._watch(create, accepted, principal, watcher, asked_at)

    async def retrieve(self, request: Request) -> Response:
        """``GET /v1/responses/{id}``: as it stands, or a stream of its events from a cursor on."""
        response_id, principal = _response_id(request), _principal(request)
        if request.query_params.get("stream", "false").lower() not in ("true", "1"):
            return await self._object(response_id, principal)
        self._refuse_if_draining()
        cursor = request.query_params.get("starting_after") or request.headers.get("last-event-id")
        after = _number(cursor)
        await self._follow(response_id, principal, after)
        desk = self.desk
        reader = StreamReader(response_id, desk.clock, desk.metrics, merge=cursor is not None)
        times = Viewing(desk.metrics) if cursor is None else Resuming(desk.metrics)
        attachment = self._attach(response_id, principal, reader, times, desk.hub.watcher(), after)
        return EventStream(reader, self._detach(attachment), desk.metrics, desk.drain)

    async def cancel(self, request: Request) -> Response:
        """``POST /v1/responses/{id}/cancel``; of an ended response it returns that response."""
        response_id, principal = _response_id(request), _principal(request)
        reply = await self.desk.admission.cancel(response_id, principal.name)
        if isinstance(reply, WireError):
            raise RefusedError(reply)
        return await self._object(response_id, principal)

    async def ask_for_upgrade(self, _: Request) -> Response:
        """``GET /v1/responses`` without an upgrade."""
        raise RefusedError(WireError(Code.UPGRADE_REQUIRED))

    async def nothing(self, request: Request) -> Response:
        """Answer any other path of the API, and any other method of those that are there."""
        there = any(route.matches(request.scope)[0] is Match.PARTIAL for route in request.app.routes)
        raise RefusedError(WireError(Code.METHOD_NOT_ALLOWED if there else Code.NOT_FOUND))

    # ---- what they share ----

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            principal = await self.doorkeeper.admit(Knock.of(request.headers))
            if isinstance(principal, WireError):
                raise RefusedError(principal)
            request.state.principal = principal
            return await handler(request)

        return guarded

    async def _refused(self, _: Request, refused: Exception) -> Response:
        error = refused.error if isinstance(refused, RefusedError) else WireError(Code.SERVER_ERROR)
        self.desk.metrics.rejections.labels(error.code.value).inc()
        return _error(error)

    def _watch(
        self, create: Create, accepted: Accepted, principal: Principal, watcher: str, asked_at: float
    ) -> Response:
        desk, response_id = self.desk, accepted.response_id
        times: Viewing = Asking(desk.metrics, desk.log, response_id, asked_at)
        if accepted.duplicate:
            times = Viewing(desk.metrics)
        if not create.stream:
            collector = Collector()
            attachment = self._attach(response_id, principal, collector, times, watcher, -1)
            keyed = bool(idempotency_key(create))
            return WholeResponse(collector, self._detach(attachment), desk.drain, keyed=keyed)
        reader = StreamReader(response_id, desk.clock, desk.metrics, merge=True)
        attachment = self._attach(response_id, principal, reader, times, watcher, -1)
        return EventStream(reader, self._detach(attachment), desk.metrics, desk.drain)

    def _attach(  # noqa: PLR0913, PLR0917 - the hub's own arguments
        self, response_id: str, principal: Principal, reader: Reader, times: Viewing, watcher: str, after: int
    ) -> Attachment:
        return self.desk.hub.attach(response_id, principal.name, reader, times, watcher=watcher, after=after)

    def _detach(self, attachment: Attachment) -> Close:
        return lambda left: self.desk.hub.detach(attachment, left=left)

    def _refuse_if_draining(self) -> None:
        """Let nothing begin that would have to be cut; short answers are still given."""
        if self.desk.drain.begun:
            raise RefusedError(WireError(Code.SERVER_DRAINING, retry_after=1))

    async def _object(self, response_id: str, principal: Principal) -> Response:
        log = await self._follow(response_id, principal, -1)
        if log is None:
            raise RefusedError(WireError(Code.RESUME_UNAVAILABLE))
        return _json(response_object(log.request, log.created_ms, snapshot(log.entries)))

    async def _follow(self, response_id: str, principal: Principal, after: int) -> Followed | None:
        """Read a log beyond ``after``; None if its owner has to write a lost tail again first."""
        log = await repeated(lambda: self.store.follow(response_id, principal.name, None, after, None))
        if isinstance(log, WireError):
            raise RefusedError(log)
        if log is Refused.BEHIND:
            return None
        if isinstance(log, Refused):
            raise RefusedError(refusal(log))
        return log


async def _body(request: Request) -> bytes:
    """Read a body, bounded in bytes and in time."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > BODY_BYTES:
                    raise RefusedError(WireError(Code.MESSAGE_TOO_LARGE))
    except TimeoutError:
        raise RefusedError(WireError(Code.REQUEST_TIMEOUT)) from None
    return bytes(body)


def _principal(request: Request) -> Principal:
    """Return who asks; every handler is guarded, so somebody was let in."""
    principal: Principal = request.state.principal
    return principal


def _response_id(request: Request) -> str:
    response_id: str = request.path_params["response_id"]
    if not is_response_id(response_id):
        raise RefusedError(WireError(Code.RESPONSE_NOT_FOUND, param="response_id"))
    return response_id


def _number(cursor: str | None) -> int:
    if cursor is None:
        return -1
    if cursor != "-1" and not (cursor.isdecimal() and len(cursor) <= 15):
        raise RefusedError(WireError(Code.INVALID_REQUEST, "starting_after is a number.", "starting_after"))
    return int(cursor)


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _error(error: WireError) -> Response:
    response = refused(error)
    if error.code in (Code.MESSAGE_TOO_LARGE, Code.REQUEST_TIMEOUT):
        response.headers["Connection"] = "close"  # the rest of the body is not read
    if error.code is Code.UPGRADE_REQUIRED:
        response.headers["Upgrade"] = "websocket"
    return response


async def _failed(_: Request, failure: Exception) -> Response:
    status = failure.status_code if isinstance(failure, HTTPException) else 500
    code = {404: Code.NOT_FOUND, 405: Code.METHOD_NOT_ALLOWED}.get(status, Code.INVALID_REQUEST)
    return Response(WireError(code).http(), status, media_type="application/json")


async def _broken(_: Request, __: Exception) -> Response:
    return _error(WireError(Code.SERVER_ERROR))


async def _nobody_there(_: Request, __: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


def with_headers(app: ASGIApp, drain: Drain) -> ASGIApp:
    """Add to every answer what clients may rely on: an id, a date, and no guessing of types."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Date"] = formatdate(usegmt=True)
                headers["X-Request-Id"] = uuid.uuid4().hex
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
                if drain.begun:
                    headers["Connection"] = "close"  # the next request had better go elsewhere
            await send(message)

        await app(scope, receive, send_named)

    return wrapped
