"""One audit: a fleet, its crowds of clients, a schedule of strikes, and then the checker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from shared.log import Entry, Kind
from shared.store.call import ServerError
from shared.store.contract import StoreUnavailable
from tokenwire.audit.aftermath import Remains, WorkerLogs, claimed_unstarted, unrested
from tokenwire.audit.checker import check
from tokenwire.audit.crowd import Stalls, Word
from tokenwire.audit.crowds import CROWDS, Crowds, Plan
from tokenwire.audit.facts import Fact, Struck, fact
from tokenwire.audit.findings import Promise, Rules, Violation
from tokenwire.audit.fleet import AuditFleet
from tokenwire.audit.history import History
from tokenwire.audit.member import POISONED
from tokenwire.audit.report import Outcome
from tokenwire.audit.schedule import CLIENT_FAULTS, Fault, Strike
from tokenwire.audit.transcript import Shelf, Viewing
from tokenwire.audit.waits import Waits
from tokenwire.audit.whole import Whole
from tokenwire.plan import Role
from tokenwire.readiness import Say

_FINISH_SECONDS = 45.0
_REST_SECONDS = 30.0
_SAMPLE_SECONDS = 0.2
_STATUS_AGAIN = (429, 503)


class Audit:
    """One run."""

    def __init__(self, plan: Plan, rules: Rules, folder: Path, outcome: Outcome, say: Say) -> None:
        self._plan = plan
        self._rules = rules
        self._folder = folder
        self._outcome = outcome
        self._say = say
        self._struck: list[Struck] = []
        self._stalls = Stalls()
        self._began = 0.0
        self._keys: dict[str, str] = {}
        """The response of each idempotency key."""

    async def on_fleet(self, fleet: AuditFleet, stop: asyncio.Event) -> None:
        """Strike at a fleet of our own and check everything.  Raises CommandError if it cannot be run."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(fleet.stop)
            self._say("starting the fleet")
            await fleet.start()
            remains = Remains(fleet.site.url, fleet.model, fleet.site.partitions)
            stack.push_async_callback(remains.close)
            crowds = Crowds(self._plan, fleet.urls, self._folder)
            stack.push_async_callback(crowds.stop)
            await self._trouble(fleet, crowds, remains, stop)
            self._say("clients have finished; waiting for what they left behind")
            await remains.rested(_REST_SECONDS)
            await self._look_back(fleet, crowds, remains)

    async def on_url(self, urls: Sequence[str], stop: asyncio.Event) -> None:
        """Be clients of a running deployment: viewers are compared with each other and with the final text."""
        async with AsyncExitStack() as stack:
            crowds = Crowds(self._plan, urls, self._folder)
            stack.push_async_callback(crowds.stop)
            await crowds.start()
            self._began = time.time()
            telling = asyncio.create_task(self._tell_progress(crowds))
            stack.callback(telling.cancel)
            await self._slept(self._plan.seconds, stop)
            crowds.say(Word(finish=_FINISH_SECONDS))
            await crowds.finished()
        shelf = Shelf(crowds.paths)
        facts = [self._check_one(shelf, response_id, None) for response_id in shelf.response_ids]
        self._check_refused(shelf)
        whole = Whole(facts, [], crowds.stalls, self._rules)
        whole.weigh()
        self._outcome.evidence.add(whole.evidence)
        self._outcome.violations += whole.violations

    # ---- while it runs ----

    async def _trouble(
        self, fleet: AuditFleet, crowds: Crowds, remains: Remains, stop: asyncio.Event
    ) -> None:
        await crowds.start()
        self._began = time.time()
        waits = Waits(lambda: fleet.pids)
        self._stalls.found = waits.found  # what the machine held up, in whatever process
        around = [
            asyncio.create_task(self._stalls.watch()),
            asyncio.create_task(waits.watch()),
            asyncio.create_task(fleet.revive()),
            asyncio.create_task(self._sample(remains)),
            asyncio.create_task(self._tell_progress(crowds)),
        ]
        try:
            await self._strike_all(fleet, crowds, stop)
            crowds.say(Word(finish=_FINISH_SECONDS))
            await crowds.finished()
        finally:
            for task in around:
                task.cancel()
            results = await asyncio.gather(*around, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _strike_all(self, fleet: AuditFleet, crowds: Crowds, stop: asyncio.Event) -> None:
        """Strike on time, each strike in a task of its own, until the time is over or somebody stops it."""
        try:
            async with asyncio.TaskGroup() as strikes:
                for strike in self._plan.strikes:
                    if await self._slept(strike.at, stop):
                        break
                    if strike.fault in CLIENT_FAULTS:
                        self._let_clients(crowds, strike)
                    else:
                        strikes.create_task(self._strike(fleet, strike))
                await self._slept(self._plan.seconds, stop)
        except ExceptionGroup as problems:  # the first one says what happened
            raise problems.exceptions[0] from None

    async def _slept(self, until: float, stop: asyncio.Event) -> bool:
        """Sleep until so many seconds from the beginning; True if the audit was stopped."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._began + until - time.time())):
                await stop.wait()
        return stop.is_set()

    async def _strike(self, fleet: AuditFleet, strike: Strike) -> None:
        struck = await fleet.strike(strike)
        if struck is None:
            self._outcome.skipped += 1
        else:
            self._struck.append(struck)

    def _let_clients(self, crowds: Crowds, strike: Strike) -> None:
        now = time.time()
        if strike.fault is Fault.POISON:
            crowds.say(Word(poison=True, at=strike.at), crowds=1)
        else:
            crowds.say(Word(burst=self._plan.burst // CROWDS, at=strike.at))
            self._struck.append(Struck(strike.fault, "", now, now + 1.0))

    async def _sample(self, remains: Remains) -> None:
        """Look again and again how many wait."""
        while True:
            with suppress(StoreUnavailable, ServerError):  # it may be struck just now
                self._outcome.most_waiting = max(self._outcome.most_waiting, await remains.waiting())
            await asyncio.sleep(_SAMPLE_SECONDS)

    async def _tell_progress(self, crowds: Crowds) -> None:
        while True:
            await asyncio.sleep(1.0)
            total = crowds.total
            last = self._struck[-1].fault if self._struck else "no strike yet"
            self._say(
                f"{time.time() - self._began:4.0f} s  asked {total.asked}  ended {total.ended}  "
                f"sockets {total.sockets}  refused {total.refused}  events {total.seen}  "
                f"strikes {len(self._struck)} ({last})"
            )

    # ---- afterwards ----

    async def _look_back(self, fleet: AuditFleet, crowds: Crowds, remains: Remains) -> None:
        outcome, violations = self._outcome, self._outcome.violations
        ports = {m.process.name: m.process.probe_port for m in fleet.members if m.process.probe_port}
        violations += await unrested(ports, 10.0)
        violations += await remains.left_over()
        self._struck += fleet.deaths
        violations += _crashes(fleet.deaths)
        outcome.dropped_live += sum(member.proxy.dropped for member in fleet.members)
        logs = WorkerLogs(
            self._folder / f"{m.process.name}.log" for m in fleet.members if m.process.role is Role.WORKER
        )
        shelf = Shelf(crowds.paths)
        self._say(f"checking {len(shelf)} responses")
        facts = await self._check_all(shelf, remains, logs)
        self._check_refused(shelf)
        if outcome.most_waiting > self._rules.bound:
            detail = f"{outcome.most_waiting} waited, {self._rules.bound} may"
            violations.append(Violation(Promise.DOOR, "bound passed", "-", detail))
        whole = Whole(facts, self._struck, [*self._stalls.found, *crowds.stalls], self._rules)
        whole.weigh()
        outcome.evidence.add(whole.evidence)
        violations += whole.violations

    async def _check_all(self, shelf: Shelf, remains: Remains, logs: WorkerLogs) -> list[Fact]:
        facts: list[Fact] = []
        async for response_id, log in remains.logs(shelf.response_ids):
            self._outcome.violations += claimed_unstarted(log, response_id, logs.claimed)
            self._outcome.hand_overs += sum(1 for entry in log if entry.kind is Kind.HANDED)
            facts.append(self._check_one(shelf, response_id, log, logs.freed))
        return facts

    def _check_one(
        self,
        shelf: Shelf,
        response_id: str,
        log: Sequence[Entry] | None,
        freed: Mapping[str, float] | None = None,
    ) -> Fact:
        outcome = self._outcome
        viewings = sorted(shelf.viewings(response_id), key=lambda viewing: viewing.viewer)
        history = History(response_id, viewings, log)
        outcome.violations += check(history, self._rules)
        outcome.violations += _asked_twice(self._keys, response_id, viewings)
        outcome.responses += 1
        outcome.viewings += len(viewings)
        outcome.events += sum(len(viewing.seen) for viewing in viewings)
        self._note_refusals(viewings)
        return fact(history, freed or {})

    def _check_refused(self, shelf: Shelf) -> None:
        unanswered = shelf.unanswered()
        self._note_refusals(unanswered)
        lost = [viewing for viewing in unanswered if viewing.over != "refused"]
        for viewing in lost:
            detail = f"asked {viewing.key}, never answered ({len(viewing.stays)} sockets)"
            self._outcome.violations.append(Violation(Promise.DOOR, "neither taken nor refused", "-", detail))

    def _note_refusals(self, viewings: Iterable[Viewing]) -> None:
        refusals = [refusal for viewing in viewings for refusal in viewing.refusals]
        self._outcome.refusals += len(refusals)
        for refusal in refusals:
            if refusal.retry_after is None or refusal.status not in _STATUS_AGAIN:
                detail = f"{refusal.status} {refusal.code}, retry after {refusal.retry_after}"
                self._outcome.violations.append(
                    Violation(Promise.DOOR, "refused without a retry time", "-", detail)
                )


def _asked_twice(keys: dict[str, str], response_id: str, viewings: Iterable[Viewing]) -> list[Violation]:
    """Find a second response for one idempotency key; ``keys`` remembers the first one."""
    return [
        Violation(
            Promise.ONE_ENDING, "accepted twice", response_id, f"{viewing.key} is {keys[viewing.key]} too"
        )
        for viewing in viewings
        if keys.setdefault(viewing.key, response_id) != response_id
    ]


def _crashes(deaths: Iterable[Struck]) -> list[Violation]:
    """Find processes that ended without being struck and without poison."""
    return [
        Violation(
            Promise.NEIGHBOURS, "a process ended by itself", death.target, f"exit code {death.exit_code}"
        )
        for death in deaths
        if death.exit_code != POISONED
    ]
