"""What an upstream's chunks make of one order: pieces and an ending.  Pure.

An upstream gives text, the log counts token ids.  The ids here are positions (0, 1, 2, ...): they stand for
tokens whose real ids nobody told.  A chunk that says how many tokens there are by now is believed; one that
does not counts as one token, or as many as it has logprobs of, and what the last word on usage says beyond that
follows as ids without text.
"""

from __future__ import annotations

from shared.log import Reason
from shared.logprobs import encode
from worker.engines.contract import Ended, Event, Order, Piece
from worker.engines.openai import chunk as said
from worker.engines.openai.body import Resume, Way
from worker.engines.openai.chunk import Chunk

BROKE_OFF = "The upstream broke off in mid-answer: ask again."
DIVERGED = (
    "The worker was lost in mid-answer, and the upstream does not say again what it had said: ask again."
)
UNSCORED = "The upstream behind this model tells no `logprobs`: ask without them."
_ENDS = {"stop": Reason.STOP, "eos_token": Reason.STOP, "stop_sequence": Reason.STOP, "length": Reason.LENGTH}


class Answer:
    """One request to an upstream, from its first chunk to its ending.

    ``feed`` takes chunks in order, ``finish`` the end of the stream; after ``ended`` nothing more is said.
    """

    def __init__(self, order: Order, way: Way) -> None:
        self.ended = False
        self.begun = False
        """Whether a token has come: from then on the order is not asked of another upstream."""
        self._id = order.response_id
        self._limit = order.sampling.max_tokens
        self._scored = order.sampling.top_logprobs is not None
        continues = way.resume is Resume.CONTINUE
        logged = order.resume_text
        self._base = len(order.resume_ids) if continues else 0
        self._expected = logged[len(logged.rstrip()) :] if continues and not order.raw else logged
        if continues and order.raw:
            self._expected = ""  # the prompt holds all of it, to the last character
        self._must_come = not continues
        self._made = 0  # tokens of this request
        self._told = len(order.resume_ids)
        self._prompt = 0
        self._cached = 0
        self._prompt_told = False
        self._finish = ""

    def feed(self, chunk: Chunk) -> list[Event]:
        """Take one chunk of the stream."""
        if self.ended:
            return []
        if said.failed(chunk):
            return self._end(Reason.ERROR, "The upstream failed in mid-answer: ask again.")
        text, scores = said.text(chunk), said.scores(chunk) if self._scored else []
        self._finish = said.finish(chunk) or self._finish
        if self._scored and text and not scores and not self.begun:
            return self._end(Reason.ERROR, UNSCORED)
        if not self._count(chunk) and text:
            self._made += max(1, len(scores))
        self.begun = self.begun or bool(text)
        shown = self._beyond_log(text)
        if shown is None:
            return self._end(Reason.WORKER_LOST, DIVERGED)
        if shown and self._base + self._made > self._limit:
            return self._end(Reason.LENGTH)  # it makes more than was asked for
        # Nothing is told of an end token, nor again of a token that is in the log.
        told = scores if shown or not (text or self._finish) else []
        return self._piece(shown, encode(told))

    @property
    def complete(self) -> bool:
        """Whether the upstream has said why the answer ends."""
        return bool(self._finish)

    def finish(self, whole: bool) -> list[Event]:
        """Take the end of the stream; ``whole`` if the upstream said that it was the end."""
        if self.ended:
            return []
        if not (whole or self._finish):
            return self._end(Reason.ERROR, BROKE_OFF)
        if self._expected and self._must_come:
            return self._end(Reason.WORKER_LOST, DIVERGED)
        reason = _ENDS.get(self._finish or "stop")
        if reason is None:
            return self._end(Reason.ERROR, f"The upstream ended the answer: {self._finish[:40]}.")
        return [*self._piece("", ""), *self._end(reason)]

    def _count(self, chunk: Chunk) -> bool:
        """Take the usage, if the chunk has one; say so."""
        usage = said.usage(chunk)
        if usage is None:
            return False
        self._made = max(self._made, usage.generated)
        self._prompt = self._prompt or max(0, usage.prompt - self._base)
        self._cached = min(self._prompt, usage.cached)
        return True

    def _beyond_log(self, text: str) -> str | None:
        """Drop what the log holds already; None if it holds something else."""
        size = min(len(text), len(self._expected))
        if text[:size] == self._expected[:size]:
            self._expected = self._expected[size:]
            return text[size:]
        if self._must_come:
            return None
        self._expected = ""
        return text

    def _piece(self, text: str, logprobs: str) -> list[Event]:
        until = max(self._told, min(self._base + self._made, self._limit))
        ids, self._told = tuple(range(self._told, until)), until
        prompt, self._prompt_told = (0 if self._prompt_told else self._prompt), bool(self._prompt)
        if not (text or ids or prompt or logprobs):
            return []
        return [Piece(self._id, text, ids, prompt, self._cached if prompt else 0, logprobs)]

    def _end(self, reason: Reason, message: str = "") -> list[Event]:
        self.ended = True
        return [Ended(self._id, reason, message)]
