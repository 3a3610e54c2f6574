"""Claims work when there is room, keeps the leases while the engine moves, and hands over on a drain.

Pull is the back-pressure: a worker asks for no more than its engine has slots for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from shared.log import Kind, Reason, unescape
from shared.observe import Log
from shared.store.contract import Claim, Leases, Standing, StoreUnavailable, WorkerInfo, WorkerStore
from shared.trace import trace_id_of
from worker.engines.contract import Engine, Order
from worker.journal import Journal
from worker.metrics import WorkerMetrics
from worker.publisher import Publisher
from worker.reach import Reach

T = TypeVar("T")

_POLL_SECONDS = 1.0
_RETRY_SECONDS = 0.2
_NAME_SECONDS = 0.5
"""Every owned response is named to the store at least so often, so that an ending is seen in prefill too."""


class Intake:
    """What keeps a worker's engine fed and its claims its own."""

    def __init__(  # noqa: PLR0913 - the parts of a worker meet here
        self,
        store: WorkerStore,
        engine: Engine,
        publisher: Publisher,
        metrics: WorkerMetrics,
        log: Log,
        *,
        info: WorkerInfo,
        leases: Leases,
    ) -> None:
        self._store = store
        self._engine = engine
        self._publisher = publisher
        self._metrics = metrics
        self._log = log
        self._info = info
        self._leases = leases
        self._draining = False
        self._claiming = asyncio.Lock()
        self._seen_steps = -1
        self._reach = Reach(log)

    @property
    def room(self) -> int:
        """How many more responses may be claimed now."""
        if self._draining or not self._engine.healthy or any(j.suspect for j in self._journals()):
            return 0
        return max(0, self._engine.info.slots - len(self._publisher.journals))

    @property
    def room_for_new(self) -> int:
        """How many of them may be new ones; the rest is kept for what other workers hand over."""
        return max(0, self.room - self._info.reserve)

    # ---- three loops ----

    async def claim_for_ever(self) -> None:
        """Take what there is room for; sleep on the bell when there is nothing to take."""
        while not self._draining:
            taken = 0
            if self.room:
                taken = await self._guarded(self._claim) or 0
            if not taken:
                await self._sleep()

    async def renew_for_ever(self) -> None:
        """Keep the leases and this worker's announcement alive."""
        while True:
            await self._guarded(self._renew)
            await asyncio.sleep(self._leases.lease / 3)

    async def name_for_ever(self) -> None:
        """Ask about responses that the store has not named for a while."""
        while True:
            await asyncio.sleep(_NAME_SECONDS / 2)
            now = asyncio.get_running_loop().time()
            quiet = [j for j in self._journals() if now - j.named_at >= _NAME_SECONDS / 2]
            if quiet:
                self._publisher.ask_again(quiet)
            self._metrics.look(self._engine.stats())

    async def drain(self, seconds: float, *, hand_over: bool = True) -> int:
        """Claim no more, log what is computed, and hand everything over, within ``seconds``.

        Returns how many could not be handed over, since the store is away: they are continued when their
        leases have run out.  So are all without ``hand_over``, and that counts as a death: one of them may be
        what the engine has died of.
        """
        self._draining = True
        try:
            async with asyncio.timeout(seconds):
                async with self._claiming:  # a claim that is under way may still bring something
                    for response_id in tuple(self._publisher.journals):
                        self._engine.cancel(response_id)
                await self._publisher.settle(seconds / 2)
                await self._finish(seconds / 4)
                if hand_over:
                    await self._hand_over()
                await self._guarded(self._store.retire)
        except TimeoutError:
            self._log.warning("drain_cut_short", left=len(self._publisher.journals))
        return len(self._publisher.journals)

    # ---- their steps ----

    async def _claim(self) -> int:
        async with self._claiming:
            if not self.room:
                return 0  # a drain came first
            link = self._store.link
            claims = await self._store.claim(self.room, self._may_take_suspect, self.room_for_new)
            for claim in claims:
                self._publisher.open(claim, link)
                self._metrics.claims.inc()
                self._note(claim)
                self._engine.submit(order_of(claim, self._info.worker))
            return len(claims)

    def _may_take_suspect(self) -> bool:
        """Say whether all that run here have proved that they do not kill their worker."""
        return all(journal.moved for journal in self._journals())

    def _note(self, claim: Claim) -> None:
        handed = claim.entries[-1].kind is Kind.HANDED
        if handed:
            self._metrics.hand_overs.inc()
            self._metrics.reclaims.inc(claim.reclaimed)
        else:
            self._metrics.queue_time.observe(claim.queued_ms / 1000)
        self._log.info(
            "claimed",
            claim.response_id,
            trace_id=trace_id_of(claim.request.traceparent),
            epoch=claim.epoch,
            upto=claim.upto,
            attempts=claim.attempts,
            hand_over=handed,
            queue_seconds=claim.queued_ms / 1000,
        )

    async def _renew(self) -> None:
        if not self._engine_moves():
            return
        # At the same time: in a Cluster the node that knows the workers may be away, and the leases not.
        for failure in await asyncio.gather(self._announce(), self._extend(), return_exceptions=True):
            if failure is not None:
                raise failure

    async def _extend(self) -> None:
        journals = self._journals()
        standings = await self._store.renew([journal.claim for journal in journals])
        for journal, standing in zip(journals, standings, strict=True):
            self._obey(journal, standing)

    async def _announce(self) -> None:
        await self._store.announce(
            msgspec.structs.replace(
                self._info,
                running=len(self._publisher.journals),
                draining=self._draining,
                prompt_tokens=self._publisher.prompt_tokens,
                generated_tokens=self._publisher.generated_tokens,
            )
        )

    def _engine_moves(self) -> bool:
        """Say whether the engine took a step since the last look, or has nothing to do.

        A hung engine must lose its leases, however well the event loop does.
        """
        stats = self._engine.stats()
        moves = stats.steps != self._seen_steps or stats.running + stats.waiting == 0
        self._seen_steps = stats.steps
        return moves

    def _obey(self, journal: Journal, standing: Standing) -> None:
        if standing is Standing.LEFT:
            self._publisher.end(journal.claim.response_id, Reason.LEFT)
        elif standing not in (Standing.OURS, Standing.UNKNOWN):
            self._publisher.drop(journal, standing)

    async def _finish(self, seconds: float) -> None:
        """Wait, at most so long, until the endings that the engine has told are written."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while any(journal.ending is not None for journal in self._journals()):
                    self._publisher.changed.clear()
                    await self._publisher.changed.wait()

    async def _hand_over(self) -> None:
        """Release everything, again and again while the store does not answer."""
        while journals := self._journals():
            await asyncio.gather(*(self._release(journal.claim) for journal in journals))

    async def _release(self, claim: Claim) -> None:
        async def release() -> None:
            await self._store.release(claim)
            self._metrics.released.inc()
            self._log.info("released", claim.response_id, trace_id=trace_id_of(claim.request.traceparent))
            self._publisher.forget(claim.response_id)

        await self._guarded(release)

    async def _guarded(self, ask: Callable[[], Awaitable[T]]) -> T | None:
        """Ask the store; None, after a pause, if it does not answer."""
        try:
            answer = await ask()
        except StoreUnavailable as error:
            self._reach.told(error)
            await asyncio.sleep(_RETRY_SECONDS)
            return None
        self._reach.told(None)
        return answer

    async def _sleep(self) -> None:
        """Wait for the bell, for room, or for a second."""
        self._publisher.changed.clear()
        waits = [
            asyncio.create_task(self._store.bell(_POLL_SECONDS)),
            asyncio.create_task(self._publisher.changed.wait()),
        ]
        done, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for task in done:
            task.result()  # a bell that fails must not keep us awake for ever

    def _journals(self) -> list[Journal]:
        return list(self._publisher.journals.values())


def order_of(claim: Claim, owner: str) -> Order:
    """Turn a claim into an order: what is logged already is where computing goes on."""
    return Order(
        response_id=claim.response_id,
        messages=claim.request.messages,
        sampling=claim.request.sampling,
        resume_ids=tuple(i for entry in claim.entries for i in entry.ids),
        resume_text=unescape("".join(entry.text for entry in claim.entries)),
        owner=owner,
        raw=claim.request.raw,
    )
