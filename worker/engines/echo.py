"""A deterministic engine without a model: it says the last user message again, at a set pace.

The rule: the words of the last user message, each with the white space behind it (a word without any gets
one space), for ever from the start again, until ``max_tokens`` or a stop string.  Token ``n`` is word
``n mod words`` and its id is ``n``, so the ids in a log are enough to go on.  A prompt token is a word.

A token's logprob, if asked for, is ``-(1 + n mod 7) / 8``; the likeliest are it and the tokens after it, each one
less than the one before.

With ``mark`` token ``n`` is ``[<last four of the response id>:<n>@<owner>] `` instead, so that a reader of
the answer sees who wrote what; tokens logged by an owner before keep the text they were logged with.  Stop
strings are not looked for then.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from shared.log import Reason
from shared.logprobs import Scored, encode, join
from shared.request import Keeps, Message
from worker.detokenizer import Decoder, TextStream
from worker.engines.contract import Admit, Ended, EngineInfo, Event, Order, Piece, Stats
from worker.engines.options import EchoOptions
from worker.sequence import Sequence

POISON = "#poison"
POISONED = 70
"""Exit code of a process killed by a poison prompt (EX_SOFTWARE of sysexits.h)."""

_LONGEST_STEP = 0.25
"""Seconds a step may wait, so that commands are taken and the step counter moves at any pace."""

_ROUNDING = 1e-6
"""Part of a token by which a due time may be missed in floating point and still count."""


def words(text: str) -> list[str]:
    """Split into words, each with the white space behind it."""
    found = re.findall(r"\S+\s*", text)
    return [word if word[-1].isspace() else word + " " for word in found]


@dataclass(frozen=True, slots=True)
class WordDecoder:
    """Token ``n`` is word ``n`` of an endless repetition."""

    vocabulary: list[str]

    def feed(self, token_id: int) -> str:
        """Return the word."""
        return self.vocabulary[token_id % len(self.vocabulary)]

    def flush(self) -> str:
        """Hold nothing back."""
        return ""


@dataclass(frozen=True, slots=True)
class MarkDecoder:
    """Token ``n`` names response, position and owner; those logged already say what the log says."""

    tail: str
    owner: str
    logged: list[str]

    def feed(self, token_id: int) -> str:
        """Return the mark."""
        if token_id < len(self.logged):
            return self.logged[token_id]
        return f"[{self.tail}:{token_id}@{self.owner}] "

    def flush(self) -> str:
        """Hold nothing back."""
        return ""


@dataclass(frozen=True, slots=True)
class _Waiting:
    sequence: Sequence
    decoder: Decoder
    poisoned: bool


@dataclass(slots=True)
class _Running:
    """A sequence in its slot: its first token here is due at ``begins``, then one every ``1 / rate``."""

    sequence: Sequence
    decoder: Decoder
    """Says what a token is; it remembers nothing, so the sequence may have the same."""
    begins: float
    resumed: int
    """Tokens that were there before."""

    @property
    def made(self) -> int:
        """Tokens made here."""
        return len(self.sequence.generated) - self.resumed

    def due(self, now: float, rate: float) -> int:
        """Count the tokens that should have been made by ``now``."""
        if now < self.begins:
            return 0
        return int((now - self.begins) * rate + _ROUNDING) + 1 if rate else self.made + 1


class EchoEngine:
    """Steps all sequences at once, in ticks of one token's time common to all of them.

    A step waits for the next tick, then makes every token due by then; so hundreds of sequences cost one
    step per tick, and a process that was held up catches up.
    """

    def __init__(
        self,
        options: EchoOptions,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.info = EngineInfo(
            options.model, "echo|1|words", options.context_length, options.slots, keeps=Keeps.NONE
        )
        self._options = options
        self._clock = clock
        self._sleep = sleep
        self._origin = clock()
        self._waiting: deque[_Waiting] = deque()
        self._running: dict[str, _Running] = {}
        self._news: list[Event] = []
        self._steps = self._prompt_tokens = self._generated_tokens = self._sequences = 0

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._running or self._waiting or self._news)

    def prepare(self, order: Order) -> Admit:
        """Split the prompt; a refusal or an ending already in the log is said once it is admitted."""
        prompt = [word for message in order.messages for word in words(message.text)]
        refused = self._refused(order, len(prompt))
        if refused:
            return partial(self._admit, order.response_id, [refused])
        decoder = self._decoder(order)
        sequence = self._sequence(order, decoder, len(prompt))
        poisoned = self._options.poison and any(POISON in word for word in prompt)
        waiting = _Waiting(sequence, decoder, poisoned)
        return partial(self._admit, order.response_id, sequence.resume(), waiting)

    def cancel(self, response_id: str) -> None:
        """Forget a sequence; its slot is free for the next step."""
        self._running.pop(response_id, None)
        self._waiting = deque(w for w in self._waiting if w.sequence.response_id != response_id)
        self._news = [event for event in self._news if event.response_id != response_id]

    def step(self) -> list[Event]:
        """Wait for the next tick and make every token due by then."""
        self._steps += 1
        self._begin()
        self._wait_for_tick()
        events, self._news = self._news, []
        now = self._clock()
        self._sequences = len(self._running)
        for running in list(self._running.values()):
            events += self._advance(running, now)
        return events

    def stats(self) -> Stats:
        """Return the counters."""
        return Stats(
            steps=self._steps,
            running=len(self._running),
            waiting=len(self._waiting),
            prompt_tokens=self._prompt_tokens,
            generated_tokens=self._generated_tokens,
            sequences=self._sequences,
        )

    def close(self) -> None:
        """Forget everything."""
        self._running.clear()
        self._waiting.clear()
        self._news.clear()

    def _refused(self, order: Order, prompt_tokens: int) -> Ended | None:
        longest = self._options.context_length - 1
        if order.sampling.grammar:
            sentence = "This model only echoes and makes no JSON: ask without a JSON format."
            return Ended(order.response_id, Reason.ERROR, sentence)
        if not words(_last_user_text(order.messages)):
            sentence = "The last user message is empty: there is nothing to echo."
            return Ended(order.response_id, Reason.CONTEXT, sentence)
        if prompt_tokens > longest:
            sentence = f"The prompt has {prompt_tokens} tokens, the model takes {longest}."
            return Ended(order.response_id, Reason.CONTEXT, sentence)
        return None

    def _decoder(self, order: Order) -> Decoder:
        if self._options.mark:
            return MarkDecoder(order.response_id[-4:], order.owner, words(order.resume_text))
        return WordDecoder(words(_last_user_text(order.messages)))

    def _sequence(self, order: Order, decoder: Decoder, prompt_tokens: int) -> Sequence:
        stops = () if self._options.mark else order.sampling.stop
        text = TextStream(decoder, stops)
        return Sequence(order, range(prompt_tokens), text, context_length=self._options.context_length)

    def _admit(self, response_id: str, news: list[Event], waiting: _Waiting | None = None) -> None:
        self.cancel(response_id)
        self._news += news
        if waiting is not None and waiting.sequence.ending is None:
            self._waiting.append(waiting)

    def _begin(self) -> None:
        begins = self._clock() + self._options.prefill_seconds
        while self._waiting and len(self._running) < self._options.slots:
            waiting = self._waiting.popleft()
            if waiting.poisoned:
                os._exit(POISONED)
            sequence = waiting.sequence
            running = _Running(sequence, waiting.decoder, begins, len(sequence.generated))
            self._running[sequence.response_id] = running
            self._prompt_tokens += len(sequence.prompt)

    def _wait_for_tick(self) -> None:
        """Sleep until the next tick at which a token is due, but never long, and not if there is news."""
        rate = self._options.rate
        if not rate or self._news or not self._running:
            self._sleep(0)  # lets the event loop's thread run
            return
        due = min(running.begins + running.made / rate for running in self._running.values())
        tick = self._origin + math.ceil((due - self._origin) * rate - _ROUNDING) / rate
        self._sleep(min(max(0.0, tick - self._clock()), _LONGEST_STEP))

    @staticmethod
    def _pieces(running: _Running, count: int) -> Iterator[Piece]:
        """Make up to ``count`` tokens, fewer if one of them ends the sequence."""
        sequence = running.sequence
        for _ in range(count):
            if sequence.ending is not None:
                return
            token_id = len(sequence.generated)
            logprobs = _logprobs(running.decoder, token_id, sequence.sampling.top_logprobs)
            yield sequence.accept(token_id, logprobs=logprobs)

    def _advance(self, running: _Running, now: float) -> Iterator[Event]:
        """Make what is due of one sequence, as one piece."""
        sequence = running.sequence
        pieces = list(self._pieces(running, running.due(now, self._options.rate) - running.made))
        if pieces:
            self._generated_tokens += len(pieces)
            yield _joined(pieces)
        if sequence.ending is not None:
            del self._running[sequence.response_id]
            yield from sequence.last_word()


def _joined(pieces: list[Piece]) -> Piece:
    if len(pieces) == 1:
        return pieces[0]
    ids = tuple(token_id for piece in pieces for token_id in piece.ids)
    text = "".join(piece.text for piece in pieces)
    logprobs = join(piece.logprobs for piece in pieces)
    return Piece(pieces[0].response_id, text, ids, pieces[0].prompt_tokens, logprobs=logprobs)


def _logprobs(decoder: Decoder, token_id: int, top: int | None) -> str:
    if top is None:
        return ""
    own = -(1 + token_id % 7) / 8
    likeliest = tuple((decoder.feed(token_id + rank), own - rank) for rank in range(top))
    return encode([Scored(decoder.feed(token_id), own, likeliest)])


def _last_user_text(messages: Iterable[Message]) -> str:
    return next((message.text for message in reversed(list(messages)) if message.role == "user"), "")
