"""The way into the store and out of it: submit and cancel, repeated while the store is out of reach."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from gateway.create import Create, Defaults, idempotency_key, to_request
from gateway.errors import Code, WireError
from gateway.metrics import Metrics
from gateway.models import Models, overloaded
from gateway.principal import Principal
from shared.log import new_response_id
from shared.observe import Log
from shared.request import Request
from shared.store.contract import (
    Cancelled,
    GatewayStore,
    Overloaded,
    Refused,
    StoreUnavailable,
    Submitted,
)

T = TypeVar("T")

_REPEATS = (0.05, 0.2, 0.5, 1.0)
"""Seconds between tries of a verb; repeating with the same arguments does nothing twice."""

_WHY: dict[Refused, Code] = {
    Refused.UNKNOWN: Code.RESPONSE_NOT_FOUND,
    Refused.GONE: Code.RESUME_UNAVAILABLE,
    Refused.BEHIND: Code.RESUME_UNAVAILABLE,
    Refused.RESET: Code.RESUME_UNAVAILABLE,
    Refused.OUT_OF_RANGE: Code.STARTING_AFTER_OUT_OF_RANGE,
    Refused.STORAGE_FULL: Code.STORAGE_FULL,
}


def refusal(refused: Refused) -> WireError:
    """Say a store's refusal in words of the wire."""
    return WireError(_WHY[refused])


async def repeated(ask: Callable[[], Awaitable[T]]) -> T | WireError:
    """Ask until the store answers, for about two seconds."""
    for pause in _REPEATS:
        try:
            return await ask()
        except StoreUnavailable:
            await asyncio.sleep(pause)
    try:
        return await ask()
    except StoreUnavailable:
        return WireError(Code.BACKEND_UNAVAILABLE, retry_after=2)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A response that stands in the store."""

    response_id: str
    model: str
    duplicate: bool
    """It stood there before: the same idempotency key asked for it."""


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
    ) -> None:
        self._store = store
        self._models = models
        self._defaults = defaults
        self._bound = bound
        self._draw = draw
        self._log = log
        self._metrics = metrics

    async def submit(
        self, create: Create, principal: Principal, watcher: str | None, keep: float | None = None
    ) -> Accepted | WireError:
        """Submit a create; ``keep`` is the door's default, seconds."""
        model = await repeated(lambda: self._models.choose(create.model))
        if isinstance(model, WireError):
            return self._refused(model)
        request = self._request(create, model, principal.name, keep)
        reply = await repeated(lambda: self._store.submit(request, watcher, self._bound))
        match reply:
            case Submitted():
                return self._accepted(request, reply)
            case Overloaded():
                return self._refused(overloaded(reply, model, self._models.announced))
            case Refused():
                return self._refused(refusal(reply))
            case WireError():
                return self._refused(reply)

    async def cancel(self, response_id: str, principal: str) -> Cancelled | WireError:
        """End a response."""
        reply = await repeated(lambda: self._store.cancel(response_id, principal))
        return refusal(reply) if isinstance(reply, Refused) else reply

    def _request(self, create: Create, model: str, principal: str, keep: float | None) -> Request:
        defaults = self._defaults if keep is None else replace(self._defaults, keep=keep)
        partition = self._store.partition_for(principal, idempotency_key(create), self._draw())
        return to_request(
            create,
            response_id=new_response_id(partition),
            model=model,
            principal=principal,
            seed=self._draw(),
            defaults=defaults,
        )

    def _accepted(self, request: Request, submitted: Submitted) -> Accepted:
        duplicate = submitted.response_id != request.response_id
        self._log.info(
            "accepted",
            submitted.response_id,
            model=request.model,
            max_tokens=request.sampling.max_tokens,
            place=submitted.place,
            duplicate=duplicate,
        )
        return Accepted(submitted.response_id, request.model, duplicate)

    def _refused(self, error: WireError) -> WireError:
        self._metrics.refused.inc()
        self._log.info("refused", code=error.code.value, retry_after=error.retry_after)
        return error
