"""The engine: one task a response, one call of ``on_step`` a turn of the event loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from shared.background import background
from shared.log import Reason
from worker.engines.contract import Ended, EngineInfo, Event, OnStep, Order, Piece, Stats
from worker.engines.openai.answer import BROKE_OFF, Answer
from worker.engines.openai.body import Resume, body_of, refused, way_of
from worker.engines.openai.chunk import Chunk, failed
from worker.engines.openai.client import Client, UpstreamAway, UpstreamRefused
from worker.engines.openai.discovery import Found, discover
from worker.engines.openai.pool import Upstream, choose, wakes_at
from worker.engines.openai.refusal import Kind, Refusal, stream_refusal
from worker.engines.options import UpstreamOptions

_LAST_WORD_SECONDS = 2.0
"""For so long the usage is waited for behind the chunk that says why the answer ends."""
_TICK_SECONDS = 0.1
"""While an upstream is silent the step counter moves at this pace: it is the read limit that ends a silence."""


@dataclass(slots=True)
class _Asking:
    """What is known of an order while it is asked for."""

    order: Order
    max_tokens: int
    """Tokens of the whole answer at most; less after the upstream has said how much room there is."""
    deadline: float
    problem: str = "no upstream could be asked"


class OpenAIEngine:
    """Answers by asking upstreams.

    A request is asked anew, of the next upstream, only while no token of it has come.
    """

    def __init__(self, options: UpstreamOptions) -> None:
        self._options = options
        self._client = Client(options.key, options.silence_seconds)
        self._wanted = Resume(options.resume) if options.resume != "auto" else None
        self._found: Found | None = None
        self._on_step: OnStep = lambda _events: None
        self._waiting: deque[Order] = deque()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._news: list[Event] = []
        self._flushing = False
        self._ticking: asyncio.Task[None] | None = None
        self._flushed_at = 0.0
        self._steps = self._prompt_tokens = self._generated_tokens = 0
        self._closed = False

    @property
    def _known(self) -> Found:
        if self._found is None:
            raise RuntimeError("The engine was not started.")
        return self._found

    @property
    def info(self) -> EngineInfo:
        """What the upstreams serve; known once it is started."""
        return self._known.info

    @property
    def healthy(self) -> bool:
        """True until it is closed: an upstream that is away comes back without a new worker."""
        return not self._closed

    @property
    def failure(self) -> str:
        """Nothing: it does not fail."""
        return ""

    async def start(self, on_step: OnStep) -> None:
        """Ask the upstreams what they serve.  Raises EngineError with a sentence saying what to do."""
        self._on_step = on_step
        self._found = await discover(self._options, self._client)
        self._ticking = background(self._tick(), "upstream-tick")

    def submit(self, order: Order) -> None:
        """Take an order."""
        self.cancel(order.response_id)
        problem = refused(order)
        if problem:
            self._tell([Ended(order.response_id, Reason.ERROR, problem)])
        elif not any(message.text.strip() for message in order.messages):
            self._tell([Ended(order.response_id, Reason.CONTEXT, "The prompt is empty.")])
        elif len(order.resume_ids) >= order.sampling.max_tokens:
            self._tell([Ended(order.response_id, Reason.LENGTH)])
        else:
            self._waiting.append(order)
            self._admit()

    def cancel(self, response_id: str) -> None:
        """Forget a sequence and close its connection."""
        task = self._running.pop(response_id, None)
        if task is not None:
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
        self._waiting = deque(order for order in self._waiting if order.response_id != response_id)
        self._news = [event for event in self._news if event.response_id != response_id]
        self._admit()

    def stats(self) -> Stats:
        """Return the counters."""
        return Stats(
            steps=self._steps,
            running=len(self._running),
            waiting=len(self._waiting),
            prompt_tokens=self._prompt_tokens,
            generated_tokens=self._generated_tokens,
        )

    async def close(self) -> None:
        """Close every connection and drop what runs."""
        self._closed = True
        self._waiting.clear()
        for response_id in tuple(self._running):
            self.cancel(response_id)
        self._news.clear()
        if self._ticking is not None:
            self._ticking.cancel()
            self._ending.add(self._ticking)
        await asyncio.gather(*self._ending, return_exceptions=True)
        await self._client.close()

    # ---- batches ----

    def _admit(self) -> None:
        while self._waiting and len(self._running) < self._options.slots and not self._closed:
            order = self._waiting.popleft()
            self._running[order.response_id] = background(self._answer(order), "upstream-answer")

    def _tell(self, events: list[Event]) -> None:
        """Say events once the event loop has turned, together with what comes in the meantime."""
        for event in events:
            if isinstance(event, Piece):
                self._prompt_tokens += event.prompt_tokens
                self._generated_tokens += len(event.ids)
        self._news += events
        if events and not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._closed:
            return
        self._steps += 1
        self._flushed_at = time.monotonic()
        events, self._news = self._news, []
        self._on_step(events)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            if self._running and time.monotonic() - self._flushed_at > _TICK_SECONDS:
                self._steps += 1

    # ---- one response ----

    async def _answer(self, order: Order) -> None:
        """Carry one order to its ending."""
        asking = _Asking(order, order.sampling.max_tokens, time.monotonic() + self._options.retry_seconds)
        try:
            while (upstream := await self._next_upstream(asking)) is not None:
                if await self._asked(asking, upstream):
                    return
            problem = f"The upstream behind this model does not answer: {asking.problem} Ask again later."
            self._tell([Ended(order.response_id, Reason.ERROR, problem)])
        except Exception:
            self._tell([Ended(order.response_id, Reason.ERROR, "The worker failed on this answer.")])
            raise
        finally:
            if self._running.get(order.response_id) is asyncio.current_task():
                del self._running[order.response_id]
                self._admit()

    async def _next_upstream(self, asking: _Asking) -> Upstream | None:
        """Choose an upstream, waiting while all of them rest; None once the order's patience is over."""
        while True:
            now = time.monotonic()
            if now >= asking.deadline:
                return None
            upstream = choose(self._known.upstreams, now)
            if upstream is not None:
                return upstream
            await asyncio.sleep(min(wakes_at(self._known.upstreams), asking.deadline) - now)

    async def _asked(self, asking: _Asking, upstream: Upstream) -> bool:
        """Ask one upstream; False if the order may be asked again."""
        way = way_of(asking.order, upstream.flavour, self._wanted)
        answer = Answer(asking.order, way)
        done = len(asking.order.resume_ids) if way.resume is Resume.CONTINUE else 0
        body = body_of(asking.order, self._known.model, way, asking.max_tokens - done)
        upstream.running += 1
        upstream.asked += 1
        try:
            await self._read(upstream, body, answer)
        except UpstreamRefused as error:
            return self._refused(asking, upstream, error.why, done)
        except UpstreamAway as error:
            if answer.complete:
                self._tell(answer.finish(whole=False))
                return True
            upstream.failed(time.monotonic())
            if answer.begun:
                self._tell([Ended(asking.order.response_id, Reason.ERROR, BROKE_OFF)])
                return True
            asking.problem = f"{error}."
            return False
        finally:
            upstream.running -= 1
        upstream.worked()
        return True

    async def _read(self, upstream: Upstream, body: dict[str, object], answer: Answer) -> None:
        async with self._client.ask(upstream.url, body) as chunks:
            whole = await self._heard(chunks, answer)
            if not (whole or answer.begun or answer.complete or answer.ended):
                raise UpstreamAway("it broke off before the first token")
            self._tell(answer.finish(whole))

    async def _heard(self, chunks: AsyncIterator[Chunk | None], answer: Answer) -> bool:
        """Feed the chunks to the answer; say whether the upstream has said that it was the end."""
        try:
            async with asyncio.timeout(None) as patience:
                async for chunk in chunks:
                    if chunk is None:
                        return True
                    if failed(chunk) and not answer.begun:
                        raise UpstreamRefused(stream_refusal(chunk["error"], self._options.key))
                    self._tell(answer.feed(chunk))
                    if answer.ended:
                        return False
                    if answer.complete and patience.when() is None:
                        patience.reschedule(asyncio.get_running_loop().time() + _LAST_WORD_SECONDS)
        except TimeoutError:
            pass  # it has said why the answer ends, and nothing of usage
        return False

    def _refused(self, asking: _Asking, upstream: Upstream, why: Refusal, done: int) -> bool:
        """Act on a refusal of what comes behind ``done`` tokens; False if the order may be asked again."""
        asking.problem = why.sentence
        if why.kind is Kind.LATER:
            upstream.failed(time.monotonic(), why.seconds)
            return False
        upstream.worked()  # it refuses this request and is well
        if why.kind is Kind.ROOM and done + why.room < asking.max_tokens:
            asking.max_tokens = done + why.room
            return False
        reason = Reason.ERROR if why.kind is Kind.FINAL else Reason.CONTEXT
        self._tell([Ended(asking.order.response_id, reason, why.sentence)])
        return True
