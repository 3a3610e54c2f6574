"""The HTTP door: the Responses API as JSON and server-sent events, the models, and the page."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from msgspec import UNSET
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from gateway import openapi
from gateway.admission import Accepted
from gateway.answers import (
    AnyMethod,
    Handler,
    broken,
    document,
    error_answer,
    failed,
    json_answer,
    methods_of,
    nobody_there,
)
from gateway.auth import TICKET_SECONDS
from gateway.chunks import CHAT, TEXT, Chunks, Form, whole
from gateway.completions import Asked
from gateway.create import LOGPROBS, idempotency_key
from gateway.desk import Desk
from gateway.diagnostics import Diagnosis, PacedStream
from gateway.dialect import Dialect, Events
from gateway.entrance import Entrance
from gateway.errors import Code, RefusedError, WireError
from gateway.items import Paging, input_items, page_of
from gateway.meter import headers_of
from gateway.models import Models, fingerprint, listing, waiting
from gateway.page import Page
from gateway.page_times import PageTimes
from gateway.principal import Credential, Principal
from gateway.refusal import refusal
from gateway.requests import body_of, last_event_of, principal_of, response_id_of
from gateway.response import response_object, snapshot
from gateway.retry import repeated
from gateway.streams import EventStream
from gateway.times import Viewing
from gateway.viewer import Viewer
from gateway.visit import Visit
from gateway.whole_response import Shape
from gateway.wire import Replay, parse_chat, parse_completion, parse_create, parse_query, parse_ticket
from shared.store.call import ServerError
from shared.store.contract import Followed, GatewayStore, Refused, StoreUnavailable


@dataclass(slots=True)
class Http:
    """Answers HTTP requests."""

    desk: Desk
    store: GatewayStore
    models: Models
    entrance: Entrance
    page: Page
    page_times: PageTimes

    def application(self) -> ASGIApp:
        """Build the ASGI application."""
        routes = [
            Route("/v1/models", self._guarded(self.list_models)),
            Route("/v1/models/{model:path}", self._guarded(self.show_model)),
            Route("/v1/responses", self._guarded(self.create), methods=["POST"]),
            Route("/v1/responses", self._guarded(self.ask_for_upgrade), methods=["GET"]),
            Route("/v1/responses/{response_id}", self._guarded(self.retrieve)),
            Route("/v1/responses/{response_id}", self._guarded(self.delete), methods=["DELETE"]),
            Route("/v1/responses/{response_id}/input_items", self._guarded(self.list_input)),
            Route("/v1/responses/{response_id}/cancel", self._guarded(self.cancel), methods=["POST"]),
            Route("/v1/chat/completions", self._guarded(self.chat), methods=["POST"]),
            Route("/v1/completions", self._guarded(self.complete), methods=["POST"]),
            Route("/v1/page/times", self._guarded(self.take_page_times), methods=["POST"]),
            Route("/v1/diagnostics", self._guarded(self.diagnose)),
            Route("/v1/ws-tickets", self._guarded(self.issue_ticket), methods=["POST"]),
            Route(openapi.PATH, document(openapi.render().encode())),
            Route("/v1/{rest:path}", AnyMethod(self._guarded(self.nothing))),
            Mount("/", self.page),
        ]
        return Starlette(
            routes=routes,
            exception_handlers={
                RefusedError: self._refused,
                HTTPException: failed,
                ClientDisconnect: nobody_there,
                Exception: broken,
            },
        )

    # ---- the API ----

    async def list_models(self, _: Request) -> Response:
        """``GET /v1/models``."""
        return json_answer(listing(self.models.announced))

    async def show_model(self, request: Request) -> Response:
        """``GET /v1/models/{model}``."""
        data = listing(self.models.announced)["data"]
        for model in data if isinstance(data, list) else []:
            if model["id"] == request.path_params["model"]:
                return json_answer(model)
        raise RefusedError(WireError(Code.MODEL_NOT_FOUND, param="model"))

    async def create(self, request: Request) -> Response:
        """``POST /v1/responses``: a stream, the whole response, or the promise of one (background)."""
        return await self._ask(request, parse_create, None)

    async def chat(self, request: Request) -> Response:
        """``POST /v1/chat/completions``: a stream of chunks, or the whole completion."""
        return await self._ask(request, parse_chat, CHAT)

    async def complete(self, request: Request) -> Response:
        """``POST /v1/completions``: the same for a prompt that is a plain text."""
        return await self._ask(request, parse_completion, TEXT)

    async def retrieve(self, request: Request) -> Response:
        """``GET /v1/responses/{id}``: as it stands, or a stream of its events from a cursor on."""
        response_id, principal = response_id_of(request), principal_of(request)
        asked = parse_query(request.query_params.multi_items(), Replay)
        if not asked.stream:
            return await self._object(response_id, principal)
        self._refuse_if_draining()
        cursor = last_event_of(request) if asked.starting_after is UNSET else asked.starting_after
        after = -1 if cursor is None else cursor
        await self._follow(response_id, principal, after)
        if request.method == "HEAD":
            return Response(media_type=EventStream.media_type, headers=EventStream.HEADERS)
        desk = self.desk
        traceparent = request.headers.get("traceparent")
        times = Viewing(desk.metrics) if cursor is None else desk.resuming(traceparent)
        viewer = Viewer(desk, principal, desk.hub.watcher(), response_id, times, after)
        return viewer.stream(Events(response_id), merge=cursor is not None)

    async def cancel(self, request: Request) -> Response:
        """``POST /v1/responses/{id}/cancel``; of an ended response it returns that response."""
        response_id, principal = response_id_of(request), principal_of(request)
        reply = await self.desk.admission.cancel(response_id, principal.name)
        if isinstance(reply, WireError):
            raise RefusedError(reply)
        return await self._object(response_id, principal)

    async def diagnose(self, request: Request) -> Response:
        """``GET /v1/diagnostics``: a paced stream, by which the way to here is judged."""
        self._refuse_if_draining()
        diagnosis = parse_query(request.query_params.multi_items(), Diagnosis)
        return PacedStream(request, diagnosis, self.desk.clock)

    async def take_page_times(self, request: Request) -> Response:
        """``POST /v1/page/times``: what people felt, as the page measured it."""
        self.page_times.take(await body_of(request), principal_of(request).name, self.desk.clock())
        return Response(status_code=204)

    async def delete(self, request: Request) -> Response:
        """``DELETE /v1/responses/{id}``: ends it if it runs, and removes all of it."""
        response_id, principal = response_id_of(request), principal_of(request)
        error = await self.desk.admission.delete(response_id, principal.name)
        if error is not None:
            raise RefusedError(error)
        return json_answer({"id": response_id, "object": "response", "deleted": True})

    async def list_input(self, request: Request) -> Response:
        """``GET /v1/responses/{id}/input_items``."""
        log = await self._whole_log(response_id_of(request), principal_of(request))
        return json_answer(
            page_of(input_items(log.request), parse_query(request.query_params.multi_items(), Paging))
        )

    async def issue_ticket(self, request: Request) -> Response:
        """``POST /v1/ws-tickets``: what lets a page open one WebSocket, since it cannot send a header there."""
        asked = parse_ticket(await body_of(request))
        ticket = secrets.token_urlsafe(32)
        origin = request.headers.get("origin") or asked.origin
        try:
            await self.entrance.doorkeeper.issue(principal_of(request), ticket, origin)
        except StoreUnavailable:
            raise RefusedError(WireError(Code.BACKEND_UNAVAILABLE, retry_after=2)) from None
        except ServerError as error:
            if not error.out_of_memory:
                raise
            raise RefusedError(WireError(Code.STORAGE_FULL)) from None
        answer = json_answer({"object": "ws_ticket", "ticket": ticket, "expires_in": int(TICKET_SECONDS)})
        answer.headers["Cache-Control"] = "no-store"
        return answer

    async def ask_for_upgrade(self, _: Request) -> Response:
        """``GET /v1/responses`` without an upgrade."""
        raise RefusedError(WireError(Code.UPGRADE_REQUIRED))

    async def nothing(self, request: Request) -> Response:
        """Answer any other path of the API, and any other method of those that are there."""
        taken = methods_of(request)
        if not taken:
            raise RefusedError(WireError(Code.NOT_FOUND))
        allow = {"Allow": ", ".join(sorted({*taken, "OPTIONS"}))}
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=allow)
        self.desk.metrics.rejections.labels(Code.METHOD_NOT_ALLOWED.value).inc()
        return error_answer(WireError(Code.METHOD_NOT_ALLOWED), allow)

    # ---- what they share ----

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            peer = request.client.host if request.client else ""
            principal = await self.entrance.admit(request.headers.getlist, peer)
            if isinstance(principal, WireError):
                raise RefusedError(principal)
            request.state.principal = principal
            answer = await handler(request)
            if principal.credential is Credential.NONE:
                return answer
            return Visit(answer, principal, self.entrance.roster)

        return guarded

    async def _refused(self, _: Request, refused: Exception) -> Response:
        error = refused.error if isinstance(refused, RefusedError) else WireError(Code.SERVER_ERROR)
        self.desk.metrics.rejections.labels(error.code.value).inc()
        return error_answer(error)

    async def _ask(self, request: Request, parse: Callable[[bytes], Asked], form: Form | None) -> Response:
        """Submit what a body asks for, and answer in the words of its API."""
        desk, asked_at = self.desk, self.desk.clock()
        self._refuse_if_draining()
        asked = parse(await body_of(request))
        principal = principal_of(request)
        watches = bool(asked.create.stream) or not asked.create.background
        watcher = desk.hub.watcher() if watches else None
        # Clients of these APIs take a broken connection as a stop, so nothing is kept unless they ask.
        traceparent = request.headers.get("traceparent")
        accepted = await desk.admission.submit(asked.create, principal, watcher, 0.0, traceparent)
        if isinstance(accepted, WireError):
            raise RefusedError(asked.spelled(accepted))
        if watcher is None:
            answer = await self._object(accepted.response_id, principal)
        else:
            times = desk.asking(accepted, asked_at, traceparent)
            viewer = Viewer(desk, principal, watcher, accepted.response_id, times, asked=True)
            follow = self._stream if asked.create.stream else self._whole
            answer = follow(asked, form, accepted, viewer)
        answer.headers.update(headers_of(accepted.rates))
        return answer

    def _stream(self, asked: Asked, form: Form | None, accepted: Accepted, viewer: Viewer) -> Response:
        dialect: Dialect = Events(accepted.response_id)
        if form is not None:
            dialect = Chunks(form, self._fingerprint(accepted), usage=asked.usage)
        return viewer.stream(dialect, merge=True)

    def _whole(self, asked: Asked, form: Form | None, accepted: Accepted, viewer: Viewer) -> Response:
        shape: Shape = bytes
        if form is not None:
            scored = LOGPROBS in (asked.create.include or ())
            shape = functools.partial(whole, form, fingerprint=self._fingerprint(accepted), scored=scored)
        return viewer.whole(shape, keyed=bool(idempotency_key(asked.create)))

    def _fingerprint(self, accepted: Accepted) -> str:
        return fingerprint(accepted.model, self.models.announced)

    def _refuse_if_draining(self) -> None:
        """Let nothing begin that would have to be cut; short answers are still given."""
        if self.desk.drain.begun:
            raise RefusedError(WireError(Code.SERVER_DRAINING, retry_after=1))

    async def _object(self, response_id: str, principal: Principal) -> Response:
        log = await self._whole_log(response_id, principal)
        body = response_object(log.request, log.created_ms, snapshot(log.entries))
        return json_answer(body | waiting(log, self.models.announced))

    async def _whole_log(self, response_id: str, principal: Principal) -> Followed:
        log = await self._follow(response_id, principal, -1)
        if log is None:
            raise RefusedError(WireError(Code.RESUME_UNAVAILABLE))
        if log.unreadable:
            raise RefusedError(refusal(Refused.UNREADABLE))
        return log

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
