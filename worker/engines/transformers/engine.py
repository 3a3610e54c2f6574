"""The transformers engine: take orders, plan, execute, apply."""

from __future__ import annotations

import time
from functools import partial

from shared.grammar import GrammarError
from shared.log import Reason
from worker.detokenizer import TextStream, TokenDecoder
from worker.engines.contract import Admit, Ended, EngineError, EngineInfo, Event, Order, Stats
from worker.engines.options import TransformersOptions
from worker.engines.transformers.check import check, check_windows, plain_logits
from worker.engines.transformers.grammar import Grammars
from worker.engines.transformers.load import Loaded, device_memory, device_name, load
from worker.engines.transformers.prompt import encode
from worker.engines.transformers.runner import Runner
from worker.engines.transformers.spelling import Speller
from worker.sampling import refusal
from worker.scheduler import Scheduler, StepPlan
from worker.sequence import Sequence

_LOOK_STEPS = 64
"""Steps between two looks at the device's memory, each a call of its driver."""


class TransformersEngine:
    """A ``Stepper`` over a loaded model.  What an order can get wrong is refused before the batch."""

    def __init__(self, loaded: Loaded, options: TransformersOptions) -> None:
        """Take the KV cache and prove that the model is computed rightly.  Raises EngineError if not."""
        self._grammars = Grammars(loaded.backend, loaded.vocabulary, loaded.end_ids)
        self.info = EngineInfo(
            loaded.name,
            loaded.build,
            loaded.context_length,
            options.slots,
            device_name(loaded.device),
            self._grammars.keeps,
        )
        self._loaded = loaded
        self._scheduler = _scheduler(options)
        expected = plain_logits(loaded.model, loaded.vocabulary, loaded.device)
        self._runner = Runner(
            loaded.model, options.slots, loaded.context_length, loaded.device, Speller(loaded.backend)
        )
        check(self._runner, expected, loaded.vocabulary)
        check_windows(self._runner.windows, loaded.model.config.get_text_config(), loaded.context_length)
        self._news: list[Event] = []
        self._steps = self._prompt_tokens = self._generated_tokens = 0
        self._sequences = 0
        self._prefill_seconds = self._decode_seconds = 0.0
        self._options = options
        self._device = device_memory(loaded.device)

    @classmethod
    def start(cls, options: TransformersOptions) -> TransformersEngine:
        """Load the model that ``options`` name.  Raises EngineError."""
        _scheduler(options)  # a wrong setting is said before minutes of loading
        engine = cls(load(options), options)
        size = engine._runner.cache_bytes / 2**30
        options.say(
            f"{engine.info.model} is ready: {options.slots} slots of {engine.info.context_length} tokens, "
            f"KV cache {size:.1f} GiB when full"
        )
        return engine

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._news or self._scheduler.running or self._scheduler.waiting)

    def prepare(self, order: Order) -> Admit:
        """Tokenise the prompt and decode what is logged (the library tokenizers lets go of Python's lock).

        A refusal or an ending already in the log is said once it is admitted.
        """
        sequence = self._accept(order)
        if isinstance(sequence, Ended):
            return partial(self._admit, order.response_id, [sequence])
        return partial(self._admit, order.response_id, sequence.resume(), sequence)

    def cancel(self, response_id: str) -> None:
        """Forget a sequence; its slot is free for the next plan."""
        self._news = [event for event in self._news if event.response_id != response_id]
        self._scheduler.cancel(response_id)

    def step(self) -> list[Event]:
        """Plan, execute, apply."""
        self._steps += 1
        events, self._news = self._news, []
        plan = self._scheduler.plan()
        began = time.perf_counter()
        result = self._runner.execute(plan)
        self._count(plan, len(result.chosen), time.perf_counter() - began)
        return events + self._scheduler.apply(result)

    def stats(self) -> Stats:
        """Return the counters."""
        return Stats(
            steps=self._steps,
            running=self._scheduler.running,
            waiting=self._scheduler.waiting,
            prompt_tokens=self._prompt_tokens,
            generated_tokens=self._generated_tokens,
            prefill_seconds=self._prefill_seconds,
            decode_seconds=self._decode_seconds,
            sequences=self._sequences,
            cache_tokens=self._scheduler.computed,
            cache_capacity=self.info.slots * self.info.context_length,
            device_bytes_used=self._device[0],
            device_bytes_total=self._device[1],
        )

    def close(self) -> None:
        """Let go of the model and its cache."""
        del self._runner, self._loaded

    def _admit(self, response_id: str, news: list[Event], sequence: Sequence | None = None) -> None:
        self.cancel(response_id)
        self._news += news
        if sequence is not None and sequence.ending is None:
            self._scheduler.add(sequence)

    def _accept(self, order: Order) -> Sequence | Ended:
        wrong = refusal(order.sampling)
        if wrong:
            return Ended(order.response_id, Reason.ERROR, wrong)
        if not any(message.text.strip() for message in order.messages):
            return Ended(order.response_id, Reason.CONTEXT, "The prompt is empty.")
        try:
            prompt = encode(self._loaded.tokenizer, order.messages, raw=order.raw)
        except Exception as error:  # noqa: BLE001 -- a template raises what its author chose
            sentence = f"The model's chat template does not take this conversation: {error}"
            return Ended(order.response_id, Reason.ERROR, sentence)
        return self._fitting(order, prompt)

    def _fitting(self, order: Order, prompt: list[int]) -> Sequence | Ended:
        longest = self._loaded.context_length - 1
        if not 0 < len(prompt) <= longest:
            sentence = f"The prompt has {len(prompt)} tokens; the model takes 1 to {longest}."
            return Ended(order.response_id, Reason.CONTEXT, sentence)
        if not all(0 <= token_id < self._loaded.vocabulary for token_id in (*prompt, *order.resume_ids)):
            return Ended(
                order.response_id, Reason.ERROR, "The log or the prompt holds tokens unknown to the model."
            )
        grammar = order.sampling.grammar
        try:
            guide = self._grammars.guide(grammar) if grammar else None
        except GrammarError as error:
            return Ended(order.response_id, Reason.ERROR, str(error))
        return Sequence(
            order,
            prompt,
            TextStream(TokenDecoder(self._loaded.backend), order.sampling.stop),
            context_length=self._loaded.context_length,
            end_ids=self._loaded.end_ids,
            guide=guide,
        )

    def _count(self, plan: StepPlan, chosen: int, seconds: float) -> None:
        """Add to the counters.  A mixed step's time is divided by its tokens."""
        if not plan.work:
            return
        prompt_tokens = sum(work.count for work in plan.work if not work.decodes)
        self._sequences = len(plan.work)
        if self._steps % _LOOK_STEPS == 0:
            self._device = device_memory(self._loaded.device)
        self._prompt_tokens += prompt_tokens
        self._generated_tokens += chosen
        self._prefill_seconds += seconds * prompt_tokens / plan.tokens
        self._decode_seconds += seconds * (plan.tokens - prompt_tokens) / plan.tokens


def _scheduler(options: TransformersOptions) -> Scheduler:
    try:
        return Scheduler(options.slots, options.step_tokens, options.prefill_share)
    except ValueError as error:
        raise EngineError(f"The engine cannot share its steps: {error}.") from error
