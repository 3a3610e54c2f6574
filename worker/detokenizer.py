"""From token ids to text that may be shown: characters whole, stop strings never begun.

Everything here is a function of the ids alone, taken one by one.  A worker that takes a response over feeds
the logged ids again and thereby holds back exactly what its predecessor held back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_PENDING = 16
"""Ids without text after which a stream looks whether all of them can still become a character."""
_TAIL = 4
"""Ids that an unfinished character may span: UTF-8 has four bytes at most, and an id has at least one."""


class Decoder(Protocol):
    """Turns ids into text, in whole characters."""

    def feed(self, token_id: int) -> str:
        """Return the text that this id completes; empty while a character is unfinished."""

    def flush(self) -> str:
        """Return what is held back, an unfinished character as U+FFFD.  The last call."""


class TokenDecoder:
    """Decodes with a tokenizer's own stream (``tokenizers.decoders.DecodeStream``), special tokens left out.

    The stream alone holds everything back behind a byte that never becomes a character, at a cost that grows
    with the square of what it holds, and raises where a decoder takes back what it said (byte fallback).
    Both are met by beginning a new stream at a border where decoding splits.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._context: list[int] = []
        self._pending: list[int] = []
        self._stream = DecodeStream(skip_special_tokens=True)

    def feed(self, token_id: int) -> str:
        """Return the text that this id completes."""
        self._pending.append(token_id)
        text = self._step(token_id)
        if text:
            self._context, self._pending = self._pending[-1:], []
        elif len(self._pending) >= _PENDING:
            text = self._release(self._border())
        return text

    def flush(self) -> str:
        """Return what is held back, as it is."""
        return self._text(self._pending)

    def _step(self, token_id: int) -> str:
        try:
            return self._stream.step(self._tokenizer, token_id) or ""
        except Exception:  # noqa: BLE001 -- the library raises no narrower class for "prefix changed"
            return self._release(len(self._pending))

    def _release(self, border: int) -> str:
        """Give up the pending ids before ``border`` as they are, and go on with a new stream behind it."""
        if border == 0:
            return ""
        text = self._text(self._pending[:border])
        self._context, self._pending = self._pending[border - 1 : border], self._pending[border:]
        # A stream does not take ids that end in half a character for known: it would say them again.
        known = [] if self._decode(self._context).endswith(_REPLACEMENT) else self._context
        self._stream = DecodeStream(ids=known, skip_special_tokens=True)
        for token_id in self._pending:
            self._stream.step(self._tokenizer, token_id)  # a tail of an unfinished character: no text yet
        return text

    def _border(self) -> int:
        """Find the last place before the tail at which the pending ids decode apart as they do together."""
        whole = self._decode(self._pending)
        if not whole:
            return len(self._pending)
        last = len(self._pending) - _TAIL
        for border in range(last, max(0, last - _PENDING), -1):
            tail = self._decode(self._pending[border:])
            if (
                tail.strip(_REPLACEMENT) == "" != tail
                and self._decode(self._pending[:border]) + tail == whole
            ):
                return border
        return 0

    def _text(self, ids: list[int]) -> str:
        """Decode ``ids`` as they read behind their context (some decoders strip a leading space)."""
        before, whole = self._decode(self._context), self._decode(self._context + ids)
        return whole[len(before) :] if whole.startswith(before) else self._decode(ids)

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))


class StopStrings:
    """Cuts a text at the first stop string and never shows the beginning of one.

    The first is the one complete first; of those complete at the same character, the one begun first.  So
    the cut depends on the text alone, not on how it arrives.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""
        self.met = False

    def feed(self, text: str) -> str:
        """Return what may be shown now.  Nothing may come after a stop string was met."""
        if not self._stops:
            return text
        self._held += text
        start = self._first_match()
        self.met = start is not None
        shown = self._showable() if start is None else start
        text, self._held = self._held[:shown], "" if self.met else self._held[shown:]
        return text

    def flush(self) -> str:
        """Return what is held back: no stop string came of it."""
        text, self._held = self._held, ""
        return text

    def _first_match(self) -> int | None:
        found = ((self._held.find(stop), len(stop)) for stop in self._stops)
        ends = [(start + length, start) for start, length in found if start >= 0]
        return min(ends)[1] if ends else None

    def _showable(self) -> int:
        """Count the characters before the longest suffix that begins a stop string."""
        size = len(self._held)
        for start in range(max(0, size - self._longest + 1), size):
            if any(stop.startswith(self._held[start:]) for stop in self._stops):
                return start
        return size


class TextStream:
    """A decoder and its stop strings: ids in, text that may be shown out."""

    def __init__(self, decoder: Decoder, stops: Iterable[str] = ()) -> None:
        self._decoder = decoder
        self._stops = StopStrings(stops)

    @property
    def stopped(self) -> bool:
        """Whether a stop string was met; everything from it on is never shown."""
        return self._stops.met

    def feed(self, token_id: int) -> str:
        """Return the text that may be shown after this id."""
        return self._stops.feed(self._decoder.feed(token_id))

    def flush(self) -> str:
        """Return what is held back; a stop string may still be met in it."""
        shown = self._stops.feed(self._decoder.flush())
        return shown if self.stopped else shown + self._stops.flush()
