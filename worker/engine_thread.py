"""Two threads around an engine: one prepares orders, one steps; once per step everything comes out."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from shared.log import Reason
from worker.engines.contract import (
    Admit,
    Ended,
    EngineError,
    EngineInfo,
    Event,
    OnStep,
    Order,
    Stats,
    StepKind,
    Stepper,
    StepTaken,
    Watch,
)

_JOIN_SECONDS = 3.0
"""With the drain before it, a worker that is told to stop is gone within ten seconds."""


@dataclass(frozen=True, slots=True)
class _Given:
    order: Order
    ticket: int


@dataclass(frozen=True, slots=True)
class _Admission:
    admit: Admit
    ticket: int


@dataclass(frozen=True, slots=True)
class _Cancel:
    response_id: str


_Command = _Admission | _Cancel


class EngineThread:
    """Any stepper behind the ``Engine`` protocol.

    The event loop never waits for the engine, and no step for a prompt that is long to tokenise: a thread of
    its own prepares order after order, and leaves a command to admit it if it is still wanted then.  The
    engine's thread takes all commands before each step and hands over what a step made with one
    ``call_soon_threadsafe``.  Each order has a ticket, and a batch says which tickets were known when it was
    made; so an event of an order that was cancelled meanwhile, even if its response was submitted again, is
    recognised and dropped.
    """

    def __init__(self, make: Callable[[], Stepper], watch: Watch = lambda _: None) -> None:
        """``make`` runs in the thread, since it may load a model for minutes; it raises EngineError."""
        self._make = make
        self._watch = watch
        self._orders: queue.SimpleQueue[_Given | None] = queue.SimpleQueue()
        self._commands: deque[_Command] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._preparing: threading.Thread | None = None
        self._preparing_since = 0.0
        self._live: dict[str, int] = {}
        """The ticket of each order that is wanted.  Changed on the loop; under the lock where it is a cancel."""
        self._ticket = 0
        self._seen = 0
        self._stats = Stats(steps=0, running=0, waiting=0, prompt_tokens=0, generated_tokens=0)
        self._info: EngineInfo | None = None
        self._failure = ""
        self.last_step_at = 0.0
        """When the last step ended, by ``time.monotonic``; 0 before the first."""

    # On the event loop.

    @property
    def info(self) -> EngineInfo:
        """What the engine is.  Raises EngineError before it was started."""
        if self._info is None:
            raise EngineError("The engine is not started.")
        return self._info

    @property
    def healthy(self) -> bool:
        """Whether the thread is there and no step has crashed.  False before the start and after the end."""
        return self._thread.is_alive() and not self._failure and self._info is not None

    @property
    def failure(self) -> str:
        """Why a step has crashed."""
        return self._failure

    async def start(self, on_step: OnStep) -> None:
        """Make the engine in its thread and begin.  Raises EngineError if it cannot be made."""
        self._loop = asyncio.get_running_loop()
        self._on_step = on_step
        self._started: asyncio.Future[EngineInfo] = self._loop.create_future()
        self._thread.start()
        self._info = await self._started

    def submit(self, order: Order) -> None:
        """Take an order.  What is wrong with it comes as Ended."""
        self.cancel(order.response_id)
        self._ticket += 1
        self._live[order.response_id] = self._ticket
        self._orders.put(_Given(order, self._ticket))

    def cancel(self, response_id: str) -> None:
        """Forget a sequence: no event of it comes any more.  What is not prepared yet never will be."""
        with self._wake:
            if self._live.pop(response_id, None) is not None:
                self._command(_Cancel(response_id))

    def stats(self) -> Stats:
        """Return the counters as of the last step or order; what is not prepared yet counts as waiting."""
        stats, since = self._stats, self._preparing_since
        unprepared = sum(ticket > self._seen for ticket in self._live.values())
        seconds = time.monotonic() - since if since else 0.0
        return replace(stats, waiting=stats.waiting + unprepared, preparing_seconds=seconds)

    async def close(self) -> None:
        """Stop the threads after the step, and the prompt, in progress.

        Raises EngineError if that takes too long; they then end with the process.
        """
        with self._wake:
            self._live.clear()
            self._closing = True
            self._wake.notify()
        self._orders.put(None)
        begun = [thread for thread in (self._thread, self._preparing) if thread and thread.ident is not None]
        await asyncio.to_thread(_join, begun)
        if any(thread.is_alive() for thread in begun):
            raise EngineError(f"The engine's step did not end within {_JOIN_SECONDS:.0f} seconds.")

    def _command(self, command: _Command) -> None:
        """Leave a command; the caller holds the lock."""
        self._commands.append(command)
        self._wake.notify()

    def _deliver(self, seen: int, events: Sequence[Event]) -> None:
        """Pass on what is still wanted of a batch."""
        wanted = [event for event in events if 0 < self._live.get(event.response_id, 0) <= seen]
        for event in wanted:
            if isinstance(event, Ended):
                del self._live[event.response_id]
        if wanted:
            self._on_step(wanted)

    # In the thread that prepares.

    def _prepare(self, stepper: Stepper) -> None:
        while (given := self._orders.get()) is not None:
            if self._live.get(given.order.response_id) != given.ticket:
                continue  # cancelled while it waited for its turn
            self._preparing_since = time.monotonic()
            try:
                admit = stepper.prepare(given.order)
            except BaseException as error:  # noqa: BLE001 -- a panic in a tokenizer's Rust is no Exception
                self._call(self._deliver, given.ticket, [_failed_on(given.order, error)])
            else:
                self._admit(given, admit)
            self._preparing_since = 0.0

    def _admit(self, given: _Given, admit: Admit) -> None:
        with self._wake:  # so that a cancel comes either before, and is seen, or after, and finds it there
            if self._live.get(given.order.response_id) == given.ticket:
                self._command(_Admission(admit, given.ticket))

    # In the engine's thread.

    def _run(self) -> None:
        try:
            stepper = self._make()
        except Exception as error:  # noqa: BLE001 -- whatever it is, start() raises it on the loop
            self._call(_fail, self._started, error)
            return
        self._preparing = threading.Thread(
            target=self._prepare, args=(stepper,), name="engine-prepare", daemon=True
        )
        self._preparing.start()
        self._call(_succeed, self._started, stepper.info)
        try:
            self._work(stepper)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the worker says it and goes
            self._failure = f"It broke: {type(error).__name__}: {error}"
        finally:
            stepper.close()

    def _work(self, stepper: Stepper) -> None:
        while self._take_commands(stepper):
            if stepper.busy:
                self._step(stepper)

    def _take_commands(self, stepper: Stepper) -> bool:
        """Run all commands, sleeping while there is nothing to do; False once the engine is to close."""
        with self._wake:
            self._wake.wait_for(lambda: self._closing or self._commands or stepper.busy)
            commands, self._commands = self._commands, deque()
        for command in commands:
            if isinstance(command, _Admission):
                self._seen = command.ticket
                command.admit()
            else:
                stepper.cancel(command.response_id)
        if commands:
            self._stats = stepper.stats()  # or one that hangs in its next step would look idle
        return not self._closing

    def _step(self, stepper: Stepper) -> None:
        began = time.monotonic()
        events = stepper.step()
        self.last_step_at = time.monotonic()
        before, self._stats = self._stats, stepper.stats()
        kind = kind_of(before, self._stats)
        if kind is not None:
            self._watch(StepTaken(kind, self.last_step_at - began, self._stats.sequences))
        if events:
            self._call(self._deliver, self._seen, events)

    def _call(self, function: Callable[..., None], *args: object) -> None:
        if not self._loop.is_closed():  # nobody is left to tell: the process is ending
            self._loop.call_soon_threadsafe(function, *args)


def kind_of(before: Stats, after: Stats) -> StepKind | None:
    """Say what a step computed, by what it added to the counters; None if nothing."""
    prefill = after.prompt_tokens > before.prompt_tokens
    decode = after.generated_tokens > before.generated_tokens
    if prefill and decode:
        return StepKind.MIXED
    if prefill:
        return StepKind.PREFILL
    return StepKind.DECODE if decode else None


def _failed_on(order: Order, error: BaseException) -> Ended:
    first = str(error).partition("\n")[0]
    return Ended(
        order.response_id,
        Reason.ERROR,
        f"The engine failed on this prompt: {type(error).__name__}: {first}",
    )


def _join(threads: Sequence[threading.Thread]) -> None:
    deadline = time.monotonic() + _JOIN_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def _succeed(started: asyncio.Future[EngineInfo], info: EngineInfo) -> None:
    if not started.done():  # the starter may have been cancelled
        started.set_result(info)


def _fail(started: asyncio.Future[EngineInfo], error: Exception) -> None:
    if not started.done():
        started.set_exception(error)
