"""What an engine is: it takes orders, computes in steps, and says once per step what came of them.

The same contract carries our own loop over a transformers model (driven by an engine thread), the echo
engine, and engines that bring their own loop (vLLM in process, any OpenAI-compatible upstream).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from shared.log import Reason
from shared.request import Keeps, Message, Sampling


@dataclass(frozen=True, slots=True)
class Order:
    """One sequence to compute.  A hand-over brings the ids and the text that are logged already."""

    response_id: str
    messages: tuple[Message, ...]
    sampling: Sampling
    resume_ids: tuple[int, ...] = ()
    """Generated token ids in the log, in order: computation goes on after them."""
    resume_text: str = ""
    """Text in the log, plain; what ``resume_ids`` decode to beyond it is the held-back state."""
    owner: str = ""
    """Name of the worker, for engines that mark their tokens (echo)."""
    raw: bool = False
    """The texts of the messages are the prompt itself, without the model's chat template."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one step made of one sequence: text that may be shown, and ids that may lack text yet."""

    response_id: str
    text: str
    """Plain text; empty while characters are unfinished or a stop string may be beginning."""
    ids: tuple[int, ...]
    """Every generated id appears in exactly one piece, in order, the ending one included."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    logprobs: str = ""
    """Of the tokens of ``ids``, an end token's left out, as ``shared.logprobs`` spells them; if asked for."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The engine's last word on a sequence; its last Piece, if any, comes before in the same batch.

    A cancelled sequence ends without any word: who cancels knows.
    """

    response_id: str
    reason: Reason
    message: str = ""


Event = Piece | Ended
Admit = Callable[[], None]
"""What is left to do for an order that is prepared; called in the engine's thread, between two steps."""
Watch = Callable[["StepTaken"], None]
"""Called in the engine's thread after each step that computed anything."""
OnStep = Callable[[Sequence[Event]], None]
"""Called on the event loop, once per step, with everything the step made."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine is and what it can hold."""

    model: str
    build: str
    """Fingerprint ``engine|revision|dtype``."""
    context_length: int
    """Prompt and generated tokens together."""
    slots: int
    """Sequences computed at once."""
    device: str = ""
    """What computes, as a person calls it: a GPU's name, or cpu."""
    keeps: Keeps = Keeps.UNKNOWN
    """How answers are kept to a JSON schema."""


@dataclass(frozen=True, slots=True)
class Stats:
    """A look at a running engine."""

    steps: int
    """Steps since the start."""
    running: int
    waiting: int
    prompt_tokens: int
    generated_tokens: int
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    sequences: int = 0
    """Sequences that took part in the last step."""
    cache_tokens: int = 0
    """Tokens whose state the KV cache holds for running sequences."""
    cache_capacity: int = 0
    """Tokens it has room for; 0 if the engine has none of its own."""
    preparing_seconds: float = 0.0
    """For how long the order that is being prepared has been; 0 if none is."""
    device_bytes_used: int = 0
    device_bytes_total: int = 0
    """Memory of the GPU; 0 without one."""


class StepKind(StrEnum):
    """What a step computed."""

    PREFILL = "prefill"
    DECODE = "decode"
    MIXED = "mixed"


@dataclass(frozen=True, slots=True)
class StepTaken:
    """One step, for those who measure."""

    kind: StepKind
    seconds: float
    sequences: int


class Engine(Protocol):
    """An engine as the worker sees it: called from the event loop, never blocking it."""

    @property
    def info(self) -> EngineInfo:
        """What it is; known once it is started."""

    async def start(self, on_step: OnStep) -> None:
        """Load what is needed and begin.  Raises EngineError with a sentence saying what to do."""

    def submit(self, order: Order) -> None:
        """Take an order.  What is wrong with it comes as Ended, never as an exception."""

    def cancel(self, response_id: str) -> None:
        """Forget a sequence: no event of it comes any more, and its slot is free in two steps.

        Harmless if it has ended.
        """

    def stats(self) -> Stats:
        """Return its counters as of the last step."""

    @property
    def healthy(self) -> bool:
        """Whether it can still compute.

        Once it cannot, it says nothing more of any order: the worker must go, and others go on with them.
        """

    @property
    def failure(self) -> str:
        """Why it cannot, a sentence; empty while it can."""

    async def close(self) -> None:
        """Stop computing and free everything.  Running sequences are dropped without an event."""


class Stepper(Protocol):
    """An engine that computes when told to: lives in the engine thread, knows no event loop."""

    info: EngineInfo

    def prepare(self, order: Order) -> Admit:
        """Do all that an order costs before its first step, as tokenising its prompt does.

        Called one order at a time in a thread beside the engine's, so it touches nothing that a step changes.
        What is wrong with the order is said by the step that follows its admission.
        """

    def cancel(self, response_id: str) -> None:
        """Forget a sequence that was admitted: no later step says anything of it."""

    def step(self) -> Sequence[Event]:
        """Take one step; blocks while it computes.  An empty result is a step too."""

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""

    def stats(self) -> Stats:
        """Return its counters."""

    def close(self) -> None:
        """Free everything."""


class EngineError(Exception):
    """An engine cannot start; the message says what to do about it."""
