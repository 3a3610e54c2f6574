"""The engine's view of one response: its ids, how many of them are computed, and the rule that ends it."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Sequence as Ids
from typing import Protocol

from shared.log import Reason
from worker.detokenizer import TextStream
from worker.engines.contract import Ended, Event, Order, Piece

DIVERGED = "This worker's tokenizer reads the logged tokens otherwise than the text that was sent."


class Guide(Protocol):
    """Keeps an answer to the form it was asked in."""

    def mask(self, generated: Ids[int]) -> bytes:
        """Return a byte for every token of the vocabulary: not 0 if it may follow ``generated``."""


class Sequence:
    """One response while it is computed.

    ``computed`` counts the ids whose state stands in the KV cache and catches up with ``known``, the prompt
    and everything generated.  A long prompt taken in chunks, a response taken over from another worker and a
    plain decode step are therefore one rule: compute what is missing, then choose the next id.

    The logged ids of a hand-over are replayed through the same detokenizer, so what exceeds the logged text
    is held back as it was by the worker before; :meth:`resume` says so, and whether they end it already.
    """

    def __init__(  # noqa: PLR0913 - what an engine knows of an order that the order does not hold
        self,
        order: Order,
        prompt: Ids[int],
        text: TextStream,
        *,
        context_length: int,
        end_ids: Collection[int] = (),
        guide: Guide | None = None,
    ) -> None:
        self.response_id = order.response_id
        self.sampling = order.sampling
        self.guide = guide
        self.prompt = tuple(prompt)
        self.generated: list[int] = []
        self.computed = 0
        self.ending: Reason | None = None
        self._message = ""
        self._text = text
        self._end_ids = end_ids
        self._limit = min(order.sampling.max_tokens, context_length - len(self.prompt))
        self._logged_ids = order.resume_ids
        self._logged_text = order.resume_text
        self._reproduced = 0  # characters of the logged text that the replay has made again
        self._announced = False

    @property
    def known(self) -> int:
        """Ids that are fixed: the prompt and everything generated."""
        return len(self.prompt) + len(self.generated)

    @property
    def missing(self) -> int:
        """Ids known but not computed; when none is missing, the next one is chosen."""
        return self.known - self.computed

    def ids(self, start: int, count: int) -> list[int]:
        """Return ``count`` known ids from absolute position ``start`` on."""
        behind = start - len(self.prompt)
        if behind >= 0:
            return self.generated[behind : behind + count]
        return [*self.prompt[start : start + count], *self.generated[: max(0, behind + count)]]

    def resume(self) -> list[Event]:
        """Take the logged ids again, once, before anything is accepted.

        Returns events only if they say more than the log: an ending, and text that was held back until it.
        """
        text = "".join(self._take(token_id) for token_id in self._logged_ids if self.ending is None)
        self.generated = list(self._logged_ids)
        if self.ending is None and len(self.generated) >= self._limit:
            text += self._end(Reason.LENGTH)  # nothing logged yet, and no room for a first token
        pieces: list[Event] = [Piece(self.response_id, text, ())] if text else []
        return pieces + self.last_word()

    def accept(self, *token_ids: int, logprobs: str = "") -> Piece:
        """Take ids just chosen and return them with the text that may be shown.

        Those behind an ending count as generated and show nothing; see ``ending`` afterwards.  ``logprobs``
        are those of the ids; an end token's are nobody's business.
        """
        text = ""
        for token_id in token_ids:
            if self.ending is None:
                text += self._take(token_id)
            else:
                self.generated.append(token_id)
        prompt_tokens = 0 if self._announced or self._logged_ids else len(self.prompt)
        self._announced = True
        told = "" if token_ids[-1] in self._end_ids else logprobs
        return Piece(self.response_id, text, token_ids, prompt_tokens, logprobs=told)

    def last_word(self) -> list[Event]:
        """Return the ending as an event, if there is one."""
        return [Ended(self.response_id, self.ending, self._message)] if self.ending else []

    def _take(self, token_id: int) -> str:
        """Add one id and apply the finish rule: end token, stop string, then the limit."""
        self.generated.append(token_id)
        if token_id in self._end_ids:
            return self._end(Reason.STOP)
        text = self._text.feed(token_id)
        if self._text.stopped:
            self.ending = Reason.STOP
        elif len(self.generated) >= self._limit:
            return self._end(Reason.LENGTH, text)
        return self._beyond_log(text)

    def _end(self, reason: Reason, text: str = "") -> str:
        text += self._text.flush()
        self.ending = Reason.STOP if self._text.stopped else reason
        return self._beyond_log(text)

    def _beyond_log(self, text: str) -> str:
        """Drop what the log holds already.  Ends the sequence if the log holds something else."""
        missing = self._logged_text[self._reproduced : self._reproduced + len(text)]
        if not text.startswith(missing):
            self.ending, self._message = Reason.ERROR, DIVERGED
            return ""
        self._reproduced += len(missing)
        return text[len(missing) :]
