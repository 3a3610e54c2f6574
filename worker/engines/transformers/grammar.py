"""Keep an answer to a JSON schema: at each step, which tokens may come next.

The library llguidance (Microsoft; an Earley parser over a lexer of derivatives, walked along the trie of the
vocabulary) says it, in well under a millisecond once a schema's lexemes are known.  What it keeps follows from the
ids of the answer alone, so after a hand-over they are read again and nothing else is handed over.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from tokenizers import Tokenizer

from shared.grammar import LONGEST, GrammarError, compiled, unusable
from shared.request import Keeps


class Guide:
    """What may come next in one answer."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher
        self._read = 0

    def mask(self, generated: Sequence[int]) -> bytes:
        """Return a byte for every token of the vocabulary: not 0 if it may follow ``generated``.

        ``generated`` is what it was the time before, and more or nothing behind it.  An end token may follow
        where the JSON is complete, and nothing else may once it cannot go on.  Raises GrammarError.
        """
        fresh = list(generated[self._read :])
        if not self._matcher.consume_tokens(fresh):
            raise _lost(self._matcher)
        self._read += len(fresh)
        mask = self._matcher.compute_logit_bias()
        if self._matcher.is_error():
            raise _lost(self._matcher)
        return mask


class Grammars:
    """Makes guides for one vocabulary of ``size`` ids, of which ``end_ids`` end an answer."""

    def __init__(self, tokenizer: Tokenizer, size: int, end_ids: Collection[int]) -> None:
        self._limits = LLParserLimits(verbose_errors=False)
        self._tokenizer: LLTokenizer | None = None
        self._problem = "it has no end token"
        if end_ids:
            try:
                self._tokenizer = LLTokenizer(tokenizer.to_str(), n_vocab=size, eos_token=sorted(end_ids))
            except ValueError as error:  # a kind of vocabulary that it does not know
                self._problem = str(error).partition("\n")[0]

    @property
    def keeps(self) -> Keeps:
        """Say whether answers can be kept to a schema."""
        return Keeps.NONE if self._tokenizer is None else Keeps.GRAMMAR

    def guide(self, schema: str) -> Guide:
        """Return the guide of an answer that begins.  Raises GrammarError with a sentence."""
        if self._tokenizer is None:
            raise GrammarError(f"This model cannot be kept to a JSON format: {self._problem}."[:LONGEST])
        matcher = LLMatcher(self._tokenizer, compiled(schema), log_level=0, limits=self._limits)
        matcher.compute_logit_bias()  # some faults show only when it begins
        if matcher.is_error():
            raise unusable(matcher.get_error())
        return Guide(matcher)


def _lost(matcher: LLMatcher) -> GrammarError:
    why = " ".join(matcher.get_error().split())
    return GrammarError(f"The answer cannot be kept to its schema: {why}"[:LONGEST])
