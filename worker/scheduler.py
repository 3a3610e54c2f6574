"""What one engine step computes: which sequences, and how many tokens of each.  Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from shared.log import Reason
from worker.engines.contract import Ended, Event
from worker.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Work:
    """One sequence's part in a step: ``count`` known ids from position ``start`` on."""

    sequence: Sequence
    slot: int
    start: int
    count: int

    @property
    def chooses(self) -> bool:
        """Whether nothing is missing after it, so that the step chooses this sequence's next id."""
        return self.start + self.count == self.sequence.known

    @property
    def decodes(self) -> bool:
        """Whether it computes one token generated before, rather than a prompt or logged tokens."""
        return self.count == 1 and self.start >= len(self.sequence.prompt)


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What to compute in one step, by ascending slot."""

    work: tuple[Work, ...]

    @property
    def tokens(self) -> int:
        """Count all tokens of the step."""
        return sum(work.count for work in self.work)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What came of a plan, by slot.  Work in neither mapping was computed and chose nothing."""

    chosen: Mapping[int, int] = field(default_factory=dict)
    """The next id of every sequence whose work ``chooses``."""
    failed: Mapping[int, str] = field(default_factory=dict)
    """A sentence for every sequence that could not be computed."""
    logprobs: Mapping[int, str] = field(default_factory=dict)
    """Those of the ids chosen for sequences that asked, as ``shared.logprobs`` spells them."""


class Scheduler:
    """Admits sequences into slots in order of arrival and shares a step's token budget among them.

    Every running sequence advances in every step.  One that lacks a single token (it decodes) always gets
    it; the rest of the budget is shared evenly among prompts, so a short one is not kept behind a long one;
    while anybody decodes, all prompts together get ``prefill_share`` tokens, so a long one does not hold up
    the answers being read.  Where more wait for their first token than read on, they get it as many times: of a
    crowd that comes at once the first to decode would keep all others waiting.
    """

    def __init__(self, slots: int, budget: int, prefill_share: int) -> None:
        """Raise ValueError unless 1 <= slots <= prefill_share <= budget."""
        if not 1 <= slots <= prefill_share <= budget:
            raise ValueError(
                f"need 1 <= slots ({slots}) <= prefill_share ({prefill_share}) <= budget ({budget})"
            )
        self._budget = budget
        self._prefill_share = prefill_share
        self._waiting: dict[str, Sequence] = {}
        self._running: dict[int, Sequence] = {}
        self._slot_of: dict[str, int] = {}
        self._free = list(range(slots))
        self._planned: StepPlan | None = None

    @property
    def running(self) -> int:
        """Count the sequences in slots."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Count the sequences that wait for a slot."""
        return len(self._waiting)

    @property
    def computed(self) -> int:
        """Count the tokens of running sequences whose state stands in the cache."""
        return sum(sequence.computed for sequence in self._running.values())

    def add(self, sequence: Sequence) -> None:
        """Take a sequence; it replaces one of the same response."""
        self.cancel(sequence.response_id)
        self._waiting[sequence.response_id] = sequence

    def cancel(self, response_id: str) -> None:
        """Forget a sequence; its slot is free for the next plan.  Harmless if it is not here."""
        self._waiting.pop(response_id, None)
        if response_id in self._slot_of:
            self._leave(self._slot_of[response_id])

    def plan(self) -> StepPlan:
        """Say what the next step computes.  Raises RuntimeError before the last plan was applied."""
        if self._planned is not None:
            raise RuntimeError("a step was planned before the one before it was applied")
        self._admit()
        self._planned = StepPlan(tuple(self._share()))
        return self._planned

    def apply(self, result: StepResult) -> list[Event]:
        """Take what came of the plan.  Raises RuntimeError without a plan, KeyError if an id is lacking."""
        if self._planned is None:
            raise RuntimeError("a step was applied that was never planned")
        plan, self._planned = self._planned, None
        events: list[Event] = []
        for work in plan.work:
            if self._running.get(work.slot) is work.sequence:  # else it was cancelled since
                events += self._advance(work, result)
        return events

    def _admit(self) -> None:
        while self._free and self._waiting:
            response_id = next(iter(self._waiting))
            slot = heapq.heappop(self._free)
            self._running[slot] = self._waiting.pop(response_id)
            self._slot_of[response_id] = slot

    def _share(self) -> Iterable[Work]:
        slots = sorted(self._running)
        prompts = [slot for slot in slots if self._running[slot].missing > 1]
        decoding = len(slots) - len(prompts)
        room = self._room(len(prompts), decoding)
        counts = dict(
            zip(prompts, fair_shares([self._running[slot].missing for slot in prompts], room), strict=True)
        )
        for slot in slots:
            sequence = self._running[slot]
            yield Work(sequence, slot, sequence.computed, counts.get(slot, 1))

    def _room(self, prompts: int, decoding: int) -> int:
        """Return how many tokens of prompts the step may compute."""
        if not decoding:
            return self._budget
        return min(self._budget - decoding, self._prefill_share * max(1, prompts // decoding))

    def _advance(self, work: Work, result: StepResult) -> list[Event]:
        sequence = work.sequence
        if work.slot in result.failed:
            self._leave(work.slot)
            return [Ended(sequence.response_id, Reason.ERROR, result.failed[work.slot])]
        chooses = work.chooses
        sequence.computed += work.count
        if not chooses:
            return []
        chosen, logprobs = result.chosen[work.slot], result.logprobs.get(work.slot, "")
        try:
            piece = sequence.accept(chosen, logprobs=logprobs)
        except Exception as error:  # noqa: BLE001 -- a tokenizer that cannot read an id ends this response alone
            self._leave(work.slot)
            return [Ended(sequence.response_id, Reason.ERROR, failure(error))]
        if sequence.ending is not None:
            self._leave(work.slot)
        return [piece, *sequence.last_word()]

    def _leave(self, slot: int) -> None:
        del self._slot_of[self._running.pop(slot).response_id]
        heapq.heappush(self._free, slot)


def failure(error: Exception) -> str:
    """Say in a sentence what ended one response."""
    first = str(error).partition("\n")[0]
    return f"The engine failed on this response: {type(error).__name__}: {first}"


def fair_shares(wants: list[int], room: int) -> list[int]:
    """Share ``room`` among ``wants`` evenly; what one does not need goes to the others (max-min fairness)."""
    shares = [0] * len(wants)
    for taken, index in enumerate(sorted(range(len(wants)), key=wants.__getitem__)):
        shares[index] = min(wants[index], room // (len(wants) - taken))
        room -= shares[index]
    return shares
