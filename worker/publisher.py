"""Carries what the engine makes into the logs: one round trip per step for all sequences.

While a round is on its way the engine goes on; what it makes meanwhile is joined in the journals and goes
with the next round.  A refusal is the control channel back: it says that somebody else has the last word.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from shared.log import Reason
from shared.observe import Log
from shared.store.contract import (
    AppendReply,
    Claim,
    FinishReply,
    Standing,
    StoreUnavailable,
    Tail,
    WorkerStore,
)
from shared.trace import Record, trace_id_of, untraced
from worker.engines.contract import Ended, Event
from worker.journal import Journal
from worker.metrics import WorkerMetrics
from worker.reach import Reach
from worker.spans import record_claim

_RETRY_SECONDS = 0.2
_LOST = {
    FinishReply.FENCED: Standing.FENCED,
    FinishReply.ENDED: Standing.ENDED,
    FinishReply.GONE: Standing.GONE,
}


class Publisher:
    """The journals of all claimed responses, and the one task that writes them.

    ``stop_computing(response_id)`` is called when a response is no longer ours to compute.
    """

    def __init__(  # noqa: PLR0913 - the parts of a worker meet here
        self,
        store: WorkerStore,
        stop_computing: Callable[[str], None],
        metrics: WorkerMetrics,
        log: Log,
        *,
        log_bytes: int,
        record: Record = untraced,
    ) -> None:
        self._record = record
        self.prompt_tokens = self.generated_tokens = 0
        """Since the start, for the announcement."""
        self.journals: dict[str, Journal] = {}
        self.changed = asyncio.Event()
        """Set whenever a journal was closed: there is room."""
        self._store = store
        self._stop_computing = stop_computing
        self._metrics = metrics
        self._log = log
        self._log_bytes = log_bytes
        self._reach = Reach(log)
        self._work = asyncio.Event()
        self._round_over = asyncio.Event()
        self._claimed_at: dict[str, float] = {}
        self._moved_at: dict[str, float] = {}

    # ---- called by the engine and the intake ----

    def open(self, claim: Claim, link: int) -> Journal:
        """Begin to write for a claim that was answered on ``link``."""
        journal = Journal(claim, link)
        journal.named_at = self._claimed_at[claim.response_id] = self._now()
        self.journals[claim.response_id] = journal
        return journal

    def on_step(self, events: Sequence[Event]) -> None:
        """Take what one step made."""
        for event in events:
            journal = self.journals.get(event.response_id)
            if journal is None:
                continue
            if isinstance(event, Ended):
                journal.end(event.reason, event.message)
            else:
                journal.add(event)
                self._metrics.generated.inc(len(event.ids))
                self._metrics.prompt.inc(event.prompt_tokens)
                self.generated_tokens += len(event.ids)
                self.prompt_tokens += event.prompt_tokens
                if journal.size > self._log_bytes:
                    self.end(event.response_id, Reason.LOG)
        self._work.set()

    def end(self, response_id: str, reason: Reason, message: str = "") -> None:
        """Stop computing a response and write its ending after what stands."""
        journal = self.journals.get(response_id)
        if journal is not None:
            self._stop_computing(response_id)
            journal.end(reason, message)
            self._work.set()

    def ask_again(self, journals: Iterable[Journal]) -> None:
        """Ask the store about journals that it has not named for a while."""
        for journal in journals:
            journal.doubt()
        self._work.set()

    def drop(self, journal: Journal, standing: Standing) -> None:
        """Let go of a response that is not ours any more, unless this worker has claimed it again meanwhile."""
        response_id = journal.claim.response_id
        if self.journals.get(response_id) is not journal:
            return
        del self.journals[response_id]
        self._stop_computing(response_id)
        self._metrics.lost[standing].inc()
        if standing is Standing.ENDED:
            self._metrics.after_stop.observe(journal.unlogged)
            self._metrics.wasted.inc(journal.unlogged)
            self._count_saved(journal)
        trace = trace_id_of(journal.claim.request.traceparent)
        self._log.info("claim_lost", response_id, trace_id=trace, standing=standing.value)
        self._closed(journal, standing.value)

    def forget(self, response_id: str) -> None:
        """Let go of a response that was handed over."""
        journal = self.journals.pop(response_id, None)
        if journal is not None:
            self._closed(journal, "released")

    # ---- the task ----

    async def run(self) -> None:
        """Write rounds for ever."""
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                problem = await self._round()
            except StoreUnavailable as error:
                self._reach.told(error)
                for journal in self.journals.values():
                    journal.doubt()
                await asyncio.sleep(_RETRY_SECONDS)
                self._work.set()
            else:
                self._reach.told(problem)
            finally:
                self._round_over.set()

    async def settle(self, seconds: float) -> None:
        """Wait until all that was taken in so far is logged, at most so long."""
        deadline = self._now() + seconds
        while any(journal.take() or journal.doubtful for journal in self.journals.values()):
            left = deadline - self._now()
            if left <= 0:
                return
            self._round_over.clear()
            self._work.set()
            try:
                async with asyncio.timeout(left):
                    await self._round_over.wait()
            except TimeoutError:
                return

    async def _round(self) -> StoreUnavailable | None:
        """Write one round; return what kept an ending from being written, while the others go on."""
        link = self._store.link
        await self._ask_why(link)
        await self._append(link)
        ready = [journal for journal in self.journals.values() if journal.ready_to_finish]
        problems = await asyncio.gather(*map(self._finish, ready))
        return next(filter(None, problems), None)

    async def _ask_why(self, link: int) -> None:
        """Ask about journals in doubt, and about all of them on a link that has not been asked yet."""
        asked = [j for j in self.journals.values() if j.doubtful or j.link != link]
        if not asked:
            return
        for journal in asked:
            journal.doubt()
        answers = await self._store.why([journal.claim for journal in asked], link)
        for journal, answer in zip(asked, answers, strict=True):
            journal.named_at = self._now()
            before = journal.upto
            if answer.standing is Standing.UNKNOWN:
                self._work_soon()  # its node of the Cluster is away; it stays in doubt, the others go on
            elif answer.standing is not Standing.OURS:
                self.drop(journal, answer.standing)
            elif not journal.repair(answer.last, link):
                self.drop(journal, Standing.GONE)
            elif journal.upto < before:
                self._metrics.repairs.inc(before - journal.upto)

    async def _append(self, link: int) -> None:
        taken = [(j, appends) for j in self.journals.values() if (appends := j.take())]
        if not taken:
            return
        began = self._now()
        batch = [append for _, appends in taken for append in appends]
        try:
            replies = await self._store.append(batch, link)
        except StoreUnavailable:
            for journal, _ in taken:
                journal.doubt()
            raise
        now = self._now()
        self._metrics.append_time.observe(now - began)
        rest = iter(replies)
        for journal, appends in taken:
            self._settle(journal, [next(rest) for _ in appends], now)
        self._work.set()  # what came meanwhile, endings, and refusals to be asked about

    def _settle(self, journal: Journal, replies: Sequence[AppendReply], now: float) -> None:
        first = not journal.moved
        journal.settle(replies)
        journal.named_at = now
        for reply in replies:
            self._metrics.appends[reply].inc()
        if first and journal.moved:
            claim = journal.claim
            waited = now - self._claimed_at.get(claim.response_id, now)
            self._moved_at[claim.response_id] = now
            self._metrics.first_append.observe(waited)
            trace = trace_id_of(claim.request.traceparent)
            self._log.info("first_append", claim.response_id, trace_id=trace, seconds=round(waited, 4))
        if AppendReply.STORAGE_FULL in replies:
            journal.give_up_text()
            self.end(journal.claim.response_id, Reason.ERROR, "storage_full: the server's memory is full")

    async def _finish(self, journal: Journal) -> StoreUnavailable | None:
        ending = journal.ending
        if ending is None:
            return None
        claim = journal.claim
        tail = Tail(journal.trailing_ids, *journal.untold_usage)
        try:
            reply = await self._store.finish(claim, journal.upto, ending.reason, ending.message, tail)
        except StoreUnavailable as error:
            journal.doubt()
            self._work_soon()
            return error
        if reply is FinishReply.BEHIND:
            journal.doubt()
            self._work.set()
        elif reply is FinishReply.OK:
            self.journals.pop(claim.response_id, None)
            if ending.reason is Reason.LEFT:
                self._count_saved(journal)
            self._metrics.finished[ending.reason].inc()
            self._log.info(
                "finished",
                claim.response_id,
                trace_id=trace_id_of(claim.request.traceparent),
                reason=ending.reason.value,
                generated_tokens=journal.generated,
                seconds=round(self._now() - self._claimed_at.get(claim.response_id, self._now()), 4),
            )
            self._closed(journal, ending.reason.value)
        else:
            self.drop(journal, _LOST[reply])
        return None

    def _count_saved(self, journal: Journal) -> None:
        self._metrics.saved.inc(max(0, journal.claim.request.sampling.max_tokens - journal.generated))

    def _work_soon(self) -> None:
        """Try again after a pause what only a part of the store could not do."""
        asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._work.set)

    def _closed(self, journal: Journal, status: str) -> None:
        now, claim = self._now(), journal.claim
        seconds = now - self._claimed_at.pop(claim.response_id, now)
        moved = self._moved_at.pop(claim.response_id, None)
        first = None if moved is None else now - moved
        record_claim(self._record, claim, seconds, first, status, journal.generated)
        self.changed.set()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
