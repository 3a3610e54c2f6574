"""Which models are there, and whether there is room: what workers announce, seen from the door."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from gateway.errors import Code, WireError
from shared.grammar import GrammarError, compiled
from shared.request import Keeps
from shared.store.contract import Announced, Followed, GatewayStore, Overloaded

_UNMEASURED_RUN = 5.0
"""Seconds a run is taken to last before any was measured."""


def choose(asked: str | None, announced: Sequence[Announced]) -> str | WireError:
    """Return the model to use: the one asked for if it is known, else the only one there is."""
    if not announced:
        return WireError(Code.NO_WORKER, retry_after=10)
    known = names(announced)
    if asked is not None:
        everything = {each.info.model for each in announced}
        return asked if asked in everything else WireError(Code.MODEL_NOT_FOUND, param="model")
    if len(known) == 1:
        return known[0]
    sentence = f"Name one of the models: {', '.join(known)}."
    return WireError(Code.INVALID_REQUEST, sentence, "model")


def check_grammar(grammar: str, model: str, announced: Sequence[Announced]) -> WireError | None:
    """Refuse at the door what the model's workers would refuse: a JSON schema that is none, or is not supported."""
    keeps = {each.info.keeps for each in announced if each.alive and each.info.model == model}
    if not grammar or not keeps or not keeps <= {Keeps.NONE, Keeps.GRAMMAR}:
        return None  # plain text, or something that only who is asked can say
    if keeps == {Keeps.NONE}:
        sentence = f"The model {model!r} makes no JSON: ask without a JSON format."
        return WireError(Code.UNSUPPORTED_PARAMETER, sentence, "text.format")
    try:
        compiled(grammar)
    except GrammarError as error:
        return WireError(Code.INVALID_REQUEST, str(error), "text.format.schema")
    return None


def names(announced: Sequence[Announced]) -> list[str]:
    """Return the models that live workers serve; all known ones if no worker lives."""
    alive = {each.info.model for each in announced if each.alive}
    return sorted(alive or {each.info.model for each in announced})


def overloaded(full: Overloaded, model: str, announced: Sequence[Announced]) -> WireError:
    """Say when asking again makes sense, from the measured rate."""
    seconds = wait_seconds(full.waiting, full.median_run_seconds, model, announced)
    if seconds is None:
        return WireError(Code.NO_WORKER, retry_after=10)
    return WireError(Code.OVERLOADED, retry_after=min(60, seconds))


def wait_seconds(
    place: int, median_run_seconds: float | None, model: str, announced: Sequence[Announced]
) -> int | None:
    """Say in how many seconds a request with ``place`` others before it will begin; None if nobody serves it."""
    slots = sum(
        each.info.open_slots
        for each in announced
        if each.alive and not each.info.draining and each.info.model == model
    )
    if slots == 0:
        return None
    run = _UNMEASURED_RUN if median_run_seconds is None else median_run_seconds
    return max(1, math.ceil(run * (place + 1) / slots))


def waiting(log: Followed, announced: Sequence[Announced]) -> dict[str, object]:
    """Say where a response stands in the queue; nothing once it was claimed."""
    if log.place is None:
        return {}
    seconds = wait_seconds(log.place, log.median_run_seconds, log.request.model, announced)
    return {"place": log.place, "wait_seconds": seconds}


def fingerprint(model: str, announced: Sequence[Announced]) -> str:
    """Name what computes a model's answers: it changes when engine, revision or dtype do."""
    builds = sorted({each.info.build for each in announced if each.info.model == model and each.alive})
    return "fp_" + hashlib.sha256("\n".join(builds).encode()).hexdigest()[:10]


def listing(announced: Sequence[Announced]) -> dict[str, object]:
    """Build the answer of ``GET /v1/models``."""
    shown = names(announced)
    created: dict[str, int] = {}
    for each in announced:
        created[each.info.model] = max(created.get(each.info.model, 0), each.info.created)
    data = [
        {"id": name, "object": "model", "created": created[name], "owned_by": "tokenwire"} for name in shown
    ]
    return {"object": "list", "data": data}


class Models:
    """The announcements as they were lately."""

    def __init__(self, store: GatewayStore) -> None:
        self._store = store
        self.announced: Sequence[Announced] = ()

    async def refresh(self) -> None:
        """Ask the store.  Raises StoreUnavailable."""
        self.announced = await self._store.workers()

    async def choose(self, asked: str | None) -> str | WireError:
        """Choose a model; before it refuses it asks the store anew.  Raises StoreUnavailable."""
        model = choose(asked, self.announced)
        if isinstance(model, str):
            return model
        await self.refresh()
        return choose(asked, self.announced)
