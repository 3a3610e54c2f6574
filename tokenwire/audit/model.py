"""The audit with a real model: ten answers over two killed workers, token for token those of an undisturbed run.

In float32 on a CPU, since only there is every sum rounded alike whatever else is in the batch.  Half of the
answers are greedy, half are sampled with a seed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from shared.background import background
from shared.log import Entry, Kind, Reason, unescape
from tokenwire.audit.aftermath import Remains
from tokenwire.audit.asks import QUESTIONS, Load
from tokenwire.audit.crowd import Word
from tokenwire.audit.crowds import Crowds, Plan
from tokenwire.audit.findings import Promise, Rules, Violation
from tokenwire.audit.fleet import AuditFleet
from tokenwire.audit.fleet_shape import FleetShape
from tokenwire.audit.report import Outcome
from tokenwire.audit.run import Audit
from tokenwire.audit.schedule import Fault, Strike
from tokenwire.audit.transcript import Shelf
from tokenwire.readiness import Say

_TOKENS = 96
_PATIENCE = 420.0
"""Seconds for one round of answers; a busy machine computes slowly."""
_NEEDED = 3
"""Of ten running responses, those that the kills must hit."""
_KILLS = (0.2, 0.55)
"""After which share of an undisturbed round's events a worker is killed."""
_REST_SECONDS = 30.0
_WORKERS = 3
"""One more than is killed: a killed one loads its model for longer than a round lasts."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a log says in the end."""

    text: str
    ids: tuple[int, ...]
    reason: Reason | None

    @classmethod
    def of(cls, log: Sequence[Entry]) -> Answer:
        """Read a whole log."""
        text = unescape("".join(entry.text for entry in log))
        ids = tuple(token for entry in log for token in entry.ids)
        return cls(text, ids, log[-1].reason if log else None)


def different(undisturbed: Mapping[str, Answer], struck: Mapping[str, Answer]) -> list[Violation]:
    """Compare two rounds, question by question."""
    return [
        Violation(Promise.PAUSE, "not what an undisturbed run says", question, _difference(answer, other))
        for question, answer in undisturbed.items()
        if (other := struck.get(question)) != answer
    ]


def _difference(answer: Answer, other: Answer | None) -> str:
    if other is None:
        return "it was not answered"
    same = next(
        (n for n, (a, b) in enumerate(zip(answer.ids, other.ids, strict=False)) if a != b),
        min(len(answer.ids), len(other.ids)),
    )
    ends = f"{len(answer.ids)} tokens ({answer.reason}) and {len(other.ids)} ({other.reason})"
    return f"equal up to token {same}: {ends}"


async def compare(  # noqa: PLR0913, PLR0917 - what a command hands down
    seed: int,
    lease: float,
    environ: Mapping[str, str],
    folder: Path,
    outcome: Outcome,
    stop: asyncio.Event,
    say: Say,
) -> None:
    """Run both rounds into an outcome.  Raises CommandError if it cannot be run."""
    # One processor computes for both workers: what a pause lasts is printed, and not held against the lease.
    rules = Rules(lease=lease, slots=16, mark=False, exact=False, pause_slack=120.0, stop_seconds=30.0)
    settings = {"DTYPE": "float32", "DEVICE": "cpu", "RESERVE_SLOTS": "0"}
    shape = FleetShape(
        _WORKERS, 2, rules, environ, engine="transformers", seed=seed, start_seconds=300.0, settings=settings
    )
    outcome.clients, outcome.needed, outcome.bound = len(QUESTIONS), _NEEDED, rules.bound
    plan = Plan(seed, 0.0, len(QUESTIONS), Load(), (), burst=0)
    await ModelAudit(plan, rules, folder, outcome, say).on_fleet(AuditFleet(shape, folder, say), stop)


Meanwhile = Callable[[Crowds], Coroutine[None, None, None]]


class ModelAudit(Audit):
    """Two rounds of the same questions on one fleet."""

    async def on_fleet(self, fleet: AuditFleet, stop: asyncio.Event) -> None:
        """Ask undisturbed, ask again while two workers are killed, and compare."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(fleet.stop)
            self._say("starting the fleet, and loading the model in each worker")
            await fleet.start()
            remains = Remains(fleet.site.url, fleet.model)
            stack.push_async_callback(remains.close)
            first = await self._round(fleet, "undisturbed", stack, _nothing)
            undisturbed = await _answers(Shelf(first.paths), remains)
            events = first.total.seen
            second = await self._round(
                fleet, "struck", stack, lambda crowds: self._kill_two(fleet, crowds, remains, events, stop)
            )
            await remains.rested(_REST_SECONDS)
            await self._look_back(fleet, second, remains)
            struck = await _answers(Shelf(second.paths), remains)
            self._outcome.violations += different(undisturbed, struck)
            self._outcome.remarks.append(_summary(undisturbed, struck))

    async def _round(
        self, fleet: AuditFleet, name: str, stack: AsyncExitStack, meanwhile: Meanwhile
    ) -> Crowds:
        """Have every question asked and answered once, and do something meanwhile."""
        self._say(f"asking {len(QUESTIONS)} questions: {name}")
        place = self._folder / name
        place.mkdir()
        load = Load(most_tokens=_TOKENS, questions=name)
        crowds = Crowds(replace(self._plan, load=load), fleet.urls, place)
        stack.push_async_callback(crowds.stop)
        await crowds.start()
        telling = background(self._tell_progress(crowds), "progress")
        try:
            while crowds.total.asked < len(QUESTIONS):  # noqa: ASYNC110 - another process tells it
                await asyncio.sleep(0.05)
            crowds.say(Word(finish=_PATIENCE))
            await asyncio.gather(crowds.finished(), meanwhile(crowds))
        finally:
            telling.cancel()
        return crowds

    async def _kill_two(
        self, fleet: AuditFleet, crowds: Crowds, remains: Remains, events: int, stop: asyncio.Event
    ) -> None:
        """Kill whoever runs most, twice, each time in the middle of what an undisturbed round shows."""
        async with asyncio.TaskGroup() as strikes:
            for share in _KILLS:
                while crowds.total.seen < share * events and crowds.total.ended < len(QUESTIONS):  # noqa: ASYNC110 - another process tells it
                    await asyncio.sleep(0.05)
                if stop.is_set():
                    return
                target = await _busiest(fleet, remains)
                strikes.create_task(self._strike(fleet, Strike(0.0, Fault.KILL_WORKER, target)))
                await asyncio.sleep(0)


async def _nothing(_crowds: Crowds) -> None:
    """Let an undisturbed round be."""


async def _busiest(fleet: AuditFleet, remains: Remains) -> int:
    """Return the index of the worker that owns most of what runs."""
    owners: Counter[str] = Counter()
    async for _, log in remains.logs(await remains.response_ids()):
        if log and log[-1].kind is not Kind.ENDED:
            owners[next((entry.owner for entry in reversed(log) if entry.owner), "")] += 1
    at_work = [n for n, member in enumerate(fleet.workers) if member.up]
    return max(at_work, key=lambda n: owners[fleet.workers[n].target], default=0)


async def _answers(shelf: Shelf, remains: Remains) -> dict[str, Answer]:
    """Return what the logs hold, by the question asked."""
    return {
        shelf.viewings(response_id)[0].prompt: Answer.of(log)
        async for response_id, log in remains.logs(shelf.response_ids)
    }


def _summary(undisturbed: Mapping[str, Answer], struck: Mapping[str, Answer]) -> str:
    equal = [n for n, question in enumerate(QUESTIONS) if struck.get(question) == undisturbed.get(question)]
    greedy = sum(1 for n in equal if n % 2 == 0)
    tokens = sum(len(answer.ids) for answer in struck.values())
    return (
        f"{len(equal)} of {len(QUESTIONS)} answers ({greedy} greedy, {len(equal) - greedy} seeded; {tokens} tokens) "
        "are token for token those of an undisturbed run"
    )
