"""What a worker knows of one claimed response: what is logged, what is on its way, what waits. Pure.

The journal decides; the publisher carries out.  It survives lost replies and a server that lost the tail
of the log, because it keeps everything it has sent or read (delivery notes, cases 5 to 7).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from shared.log import PROLOGUE, Kind, Reason, escape, unescape
from shared.logprobs import join
from shared.store.contract import Append, AppendReply, Claim
from worker.engines.contract import Piece


@dataclass(frozen=True, slots=True)
class Ending:
    """How the response is to end once everything before is logged."""

    reason: Reason
    message: str = ""


@dataclass
class Journal:
    """The owner's side of one log.

    ``take`` gives the next appends; exactly one of ``settle`` and ``doubt`` must follow.  In doubt nothing
    is taken until ``repair`` was told where the log ends.
    """

    claim: Claim
    link: int
    """Connection on which the log's end was last seen to be where we believe it is."""
    upto: int = field(init=False)
    ending: Ending | None = None
    doubtful: bool = False
    generated: int = field(init=False)
    """Ids in the log, on their way or waiting."""
    size: int = field(init=False)
    """Bytes of text and logprobs, logged or not."""
    named_at: float = 0.0
    """When the store last answered about it; an ending by somebody else is seen by asking."""
    _texts: list[str] = field(default_factory=list)
    _ids: list[int] = field(default_factory=list)
    _logprobs: list[str] = field(default_factory=list)
    _usage: tuple[int, int] = (0, 0)
    _usage_told: bool = False
    """An engine that asks elsewhere may learn it last; an owner before may have told it."""
    _sending: list[Append] = field(default_factory=list)
    _logged: dict[int, Append] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.upto = self.claim.upto
        self.generated = sum(len(entry.ids) for entry in self.claim.entries)
        self.size = sum(_size(unescape(entry.text), entry.logprobs) for entry in self.claim.entries)
        self._usage_told = any(entry.prompt_tokens for entry in self.claim.entries)
        for entry in self.claim.entries:
            if entry.kind is Kind.DELTA:
                self._logged[entry.upto] = Append(
                    self.claim.response_id,
                    self.claim.epoch,
                    entry.upto,
                    entry.text,
                    entry.ids,
                    entry.prompt_tokens,
                    entry.cached_tokens,
                    entry.logprobs,
                )

    @property
    def moved(self) -> bool:
        """Whether anything was logged since the claim: then it is no suspect."""
        return self.upto > self.claim.upto

    @property
    def suspect(self) -> bool:
        """Whether it died before without progress and has made none here yet."""
        return self.claim.attempts > 1 and not self.moved

    @property
    def ready_to_finish(self) -> bool:
        """Whether all text is logged and only the ending is missing."""
        idle = not self._sending and not self._texts
        return self.ending is not None and idle and not self.doubtful

    @property
    def trailing_ids(self) -> tuple[int, ...]:
        """Ids without text of their own: they ride with the next text, or with the ending."""
        return tuple(self._ids)

    @property
    def unlogged(self) -> int:
        """Ids that were computed and are not in the log: if somebody else ends it now, made for nothing."""
        return self.generated - sum(len(append.ids) for append in self._logged.values())

    @property
    def untold_usage(self) -> tuple[int, int]:
        """Prompt and cached tokens that no delta has told."""
        return self._usage

    def add(self, piece: Piece) -> None:
        """Take in what one step made; nothing more is accepted once it is to end."""
        if self.ending is not None:
            return
        if piece.text:
            self._texts.append(piece.text)
        if piece.logprobs:
            self._logprobs.append(piece.logprobs)
        self.size += _size(piece.text, piece.logprobs)
        self._ids.extend(piece.ids)
        self.generated += len(piece.ids)
        if piece.prompt_tokens and not self._usage_told:
            self._usage = (piece.prompt_tokens, piece.cached_tokens)
            self._usage_told = True

    def end(self, reason: Reason, message: str = "") -> None:
        """Say how it is to end; the first word counts."""
        if self.ending is None:
            self.ending = Ending(reason, message)

    def give_up_text(self) -> None:
        """Drop what is not logged: it cannot be (the server's memory is full)."""
        self._texts.clear()
        self._ids.clear()
        self._logprobs.clear()
        self._sending.clear()

    def take(self) -> Sequence[Append]:
        """Return what is to be appended next, in order; empty if nothing is or in doubt."""
        if self.doubtful:
            return ()
        if not self._sending and self._texts:
            self._sending.append(self._gather())
        return tuple(self._sending)

    def _gather(self) -> Append:
        """Join all that waits into one entry: a slow server makes longer deltas, not a longer queue."""
        prompt, cached = self._usage
        append = Append(
            self.claim.response_id,
            self.claim.epoch,
            self.upto + 1,
            escape("".join(self._texts)),
            tuple(self._ids),
            prompt,
            cached,
            join(self._logprobs) if self._logprobs else "",
        )
        self._texts.clear()
        self._ids.clear()
        self._logprobs.clear()
        self._usage = (0, 0)
        return append

    def settle(self, replies: Sequence[AppendReply]) -> None:
        """Take the replies to what was taken; the first one that is not an OK leaves it in doubt."""
        for append, reply in zip(tuple(self._sending), replies, strict=True):
            if reply not in (AppendReply.OK, AppendReply.UNWATCHED):
                self.doubtful = True
                return
            self._logged[append.upto] = append
            self.upto = append.upto
            self._sending.remove(append)

    def doubt(self) -> None:
        """Hold everything until it was asked where the log ends: a reply was lost, or the link is new."""
        self.doubtful = True

    def repair(self, last: int, link: int) -> bool:
        """Go on from where the log really ends; False if what it lost cannot be written again."""
        known = {**self._logged, **{append.upto: append for append in self._sending}}
        if last < PROLOGUE or any(
            upto not in known for upto in range(max(last, PROLOGUE) + 1, self.upto + 1)
        ):
            return False
        if last > max(known, default=self.claim.upto) and last > self.claim.upto:
            return False  # it holds what we never wrote
        self._logged = {upto: append for upto, append in known.items() if upto <= last}
        self._sending = [known[upto] for upto in sorted(known) if upto > last]
        self.upto = last
        self.doubtful = False
        self.link = link
        return True


def _size(text: str, logprobs: str) -> int:
    return len(text.encode()) + len(logprobs)
