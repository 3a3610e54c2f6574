"""The way into the store and out of it: submit, cancel and delete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec

from gateway.create import Create, Defaults, idempotency_key, to_request
from gateway.errors import WireError
from gateway.history import History
from gateway.meter import Meter
from gateway.metrics import Metrics
from gateway.models import Models, check_grammar, overloaded
from gateway.principal import Principal
from gateway.refusal import refusal
from gateway.retry import repeated
from gateway.times import Tracing
from shared.log import new_response_id
from shared.observe import Log
from shared.request import Message, Request
from shared.store.contract import (
    Cancelled,
    GatewayStore,
    Overloaded,
    Refused,
    Submitted,
)
from shared.store.meters import Rate
from shared.trace import Context

_OTHER_PARTITIONS = 3
"""Partitions that are tried after a full one: others may fill the one that was just seen to have room."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A response that stands in the store."""

    response_id: str
    model: str
    duplicate: bool
    """It stood there before: the same idempotency key asked for it."""
    context: Context
    """Its place in the asker's trace."""
    rates: tuple[Rate, ...] = ()
    """How much its principal has left."""


class Admission:
    """Turns creates into requests and puts them before the store.

    ``draw`` returns a natural number below 2**63 that nobody can guess.
    """

    def __init__(  # noqa: PLR0913 - collaborators, passed down by app.py
        self,
        store: GatewayStore,
        models: Models,
        *,
        defaults: Defaults,
        bound: int,
        draw: Callable[[], int],
        log: Log,
        metrics: Metrics,
        meter: Meter,
        tracing: Tracing | None = None,
    ) -> None:
        self._tracing = tracing or Tracing()
        self._meter = meter
        self._store = store
        self._history = History(store)
        self._models = models
        self._defaults = defaults
        self._bound = bound
        self._draw = draw
        self._log = log
        self._metrics = metrics

    async def submit(
        self,
        create: Create,
        principal: Principal,
        watcher: str | None,
        keep: float | None = None,
        traceparent: str | None = None,
    ) -> Accepted | WireError:
        """Submit a create; ``keep`` is the door's default, seconds, ``traceparent`` the asker's header."""
        model = await repeated(lambda: self._models.choose(create.model))
        if isinstance(model, WireError):
            return self._refused(model)
        before = await self._history.before(create.previous_response_id, principal.name)
        if isinstance(before, WireError):
            return self._refused(before)
        context = self._tracing.begin(traceparent)
        request = self._request(create, model, principal.name, keep, before, context)
        unkept = check_grammar(request.sampling.grammar, model, self._models.announced)
        accepted = unkept or await self._put(request, principal, watcher, context)
        return self._refused(accepted) if isinstance(accepted, WireError) else accepted

    async def _put(
        self, request: Request, principal: Principal, watcher: str | None, context: Context
    ) -> Accepted | WireError:
        """Count a request among its principal's and put it before the store."""
        rates = await self._meter.ask(principal, request)
        if isinstance(rates, WireError):
            return rates
        reply = await self._offer(request, principal, watcher)
        for _ in range(_OTHER_PARTITIONS):
            if not isinstance(reply, Overloaded) or (other := await self._elsewhere(request)) is None:
                break
            request = other
            reply = await self._meter.again(principal, request) or await self._offer(
                request, principal, watcher
            )
        match reply:
            case Submitted():
                return self._accepted(request, reply, context, rates)
            case Overloaded():
                return overloaded(reply, request.model, self._models.announced)
            case Refused():
                return refusal(reply)
            case WireError():
                return reply

    async def _offer(
        self, request: Request, principal: Principal, watcher: str | None
    ) -> Submitted | Overloaded | Refused | WireError:
        """Put a request before the store, and give back what it took if nothing comes of it."""
        reply = await repeated(lambda: self._store.submit(request, watcher, self._bound))
        if not isinstance(reply, Submitted | WireError) or _is_another(request, reply):
            await self._meter.give_back(principal, request.response_id)
        return reply

    async def _elsewhere(self, request: Request) -> Request | None:
        """Give a request an id where there is room, if its own partition is full and another one is not.

        A request with an idempotency key has no choice: its partition is where the key is looked for.
        """
        if request.idempotency_key:
            return None
        draw = self._draw()
        partition = await repeated(lambda: self._store.partition_with_room(request.model, self._bound, draw))
        if partition is None or isinstance(partition, WireError):
            return None
        return msgspec.structs.replace(request, response_id=new_response_id(partition))

    async def cancel(self, response_id: str, principal: str) -> Cancelled | WireError:
        """End a response."""
        reply = await repeated(lambda: self._store.cancel(response_id, principal))
        if isinstance(reply, Refused):
            reply = refusal(reply)
        self._log.info("stop", response_id, outcome=_outcome(reply))
        return reply

    async def delete(self, response_id: str, principal: str) -> WireError | None:
        """End a response if it runs and remove all of it; return why it could not be done."""
        reply = await repeated(lambda: self._store.delete(response_id, principal))
        if isinstance(reply, WireError):
            return reply
        self._log.info("deleted" if reply else "not_deleted", response_id)
        return None if reply else refusal(Refused.UNKNOWN)

    def _request(  # noqa: PLR0913, PLR0917 - all that a request is made from
        self,
        create: Create,
        model: str,
        principal: str,
        keep: float | None,
        before: tuple[Message, ...],
        context: Context,
    ) -> Request:
        defaults = self._defaults if keep is None else replace(self._defaults, keep=keep)
        partition = self._store.partition_for(principal, idempotency_key(create), self._draw())
        return to_request(
            create,
            response_id=new_response_id(partition),
            model=model,
            principal=principal,
            before=before,
            seed=self._draw(),
            defaults=defaults,
            traceparent=context.header,
        )

    def _accepted(
        self, request: Request, submitted: Submitted, context: Context, rates: tuple[Rate, ...]
    ) -> Accepted:
        duplicate = _is_another(request, submitted)
        self._log.info(
            "accepted",
            submitted.response_id,
            trace_id=context.trace_id,
            model=request.model,
            max_tokens=request.sampling.max_tokens,
            place=submitted.place,
            duplicate=duplicate,
        )
        return Accepted(submitted.response_id, request.model, duplicate, context, rates)

    def _refused(self, error: WireError) -> WireError:
        self._metrics.refused.inc()
        self._log.info("refused", code=error.code.value, retry_after=error.retry_after)
        return error


def _outcome(reply: Cancelled | WireError) -> str:
    """Say in one word what became of a Stop."""
    if isinstance(reply, WireError):
        return reply.code.value
    return "already_ended" if reply.already else "ended"


def _is_another(request: Request, reply: object) -> bool:
    """Say whether the reply tells of a response that an earlier request with the same key has made."""
    return isinstance(reply, Submitted) and reply.response_id != request.response_id
