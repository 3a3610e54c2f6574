"""The log of one response: kinds of entries, their ids, and the one rule that numbers wire events.

A log is a Redis stream.  An entry's id is ``<epoch>-<upto>``: ``epoch`` is the fencing token of the
writer (server milliseconds at its claim; Kleppmann, "How to do distributed locking", 2016) and ``upto``
counts the wire events that exist once the entry stands.  An entry therefore covers the sequence numbers
``upto - covers .. upto - 1``, and every gateway numbers every event alike without any shared state.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from shared.logprobs import packed

_RESPONSE_ID = re.compile(r"resp_([0-9a-f]{3})[0-9a-f]{32}")

PROLOGUE = 4
"""Wire events before the first delta: created, in_progress, output_item.added, content_part.added."""

CLOSING = 4
"""Wire events of an ending after a start: text.done, part.done, item.done and the terminal event."""


class Kind(StrEnum):
    """The letters of log entries.  A letter fixes how many events an entry covers, for ever."""

    QUEUED = "q"  # submit: response.created
    STARTED = "s"  # first claim: in_progress, output_item.added, content_part.added
    DELTA = "d"  # append: one output_text.delta, however many tokens it joins
    HANDED = "h"  # a later claim: no event
    ENDED = "e"  # the ending: CLOSING events, or the terminal one alone if never started


class Status(StrEnum):
    """Where a response is in its life; the last five are terminal."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def terminal(self) -> bool:
        """Whether the response has ended."""
        return self not in (Status.QUEUED, Status.RUNNING)


class Reason(StrEnum):
    """Why a response ended, as stored in its log; the wire shows what its API has words for."""

    STOP = "stop"  # the model ended, or a stop string was met: completed
    LENGTH = "max_output_tokens"  # incomplete
    TIME = "time_limit"  # run_deadline passed: incomplete
    LOG = "log_limit"  # the log's bound was reached: incomplete
    CANCELLED = "cancelled"  # somebody pressed Stop
    LEFT = "left"  # the last viewer left and `keep` passed: cancelled
    QUEUE_TIMEOUT = "queue_timeout"  # queue_deadline passed before a claim: failed
    WORKER_LOST = "worker_lost"  # too many workers died under it: failed
    LOG_LOST = "log_lost"  # Redis lost the log: failed
    CONTEXT = "context_length_exceeded"  # prompt does not fit the model: failed
    ERROR = "server_error"  # the engine failed on it: failed


STATUS_OF: dict[Reason, Status] = {
    Reason.STOP: Status.COMPLETED,
    Reason.LENGTH: Status.INCOMPLETE,
    Reason.TIME: Status.INCOMPLETE,
    Reason.LOG: Status.INCOMPLETE,
    Reason.CANCELLED: Status.CANCELLED,
    Reason.LEFT: Status.CANCELLED,
    Reason.QUEUE_TIMEOUT: Status.FAILED,
    Reason.WORKER_LOST: Status.FAILED,
    Reason.LOG_LOST: Status.FAILED,
    Reason.CONTEXT: Status.FAILED,
    Reason.ERROR: Status.FAILED,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a log, decoded.  Fields that its kind does not use keep their defaults."""

    epoch: int
    upto: int
    kind: Kind
    covers: int
    at: int = 0
    """Server time of the entry in milliseconds (q, s, h, e)."""
    text: str = ""
    """d: the JSON-escaped text between its quotes, ready to be put into a frame."""
    ids: tuple[int, ...] = ()
    """d, e: token ids generated since the entry before; their text may ride with a later entry."""
    logprobs: str = ""
    """d: logprobs of these ids' tokens as ``shared.logprobs`` spells them, if the request asked for them."""
    prompt_tokens: int = 0
    """The first d, or e if there is none: tokens of the prompt."""
    cached_tokens: int = 0
    reason: Reason | None = None
    """e: why it ended."""
    message: str = ""
    """e: a sentence for the user, if failed."""
    owner: str = ""
    """s, h: name of the worker that claimed it."""
    marked: str = ""
    """h: how this owner differs from the one before, if it does (model build)."""

    @property
    def first(self) -> int:
        """Sequence number of the first event covered."""
        return self.upto - self.covers

    @property
    def piece(self) -> bytes:
        """What a delta says: its text, packed with its logprobs if it has any."""
        text = self.text.encode()
        return packed(text, self.logprobs.encode()) if self.logprobs else text


SCORED = b"l"
"""Kind of the live message of a delta with logprobs.

It says that it covers nothing, so a gateway of a version that does not know it finds a gap and reads the log.
"""


class LiveMessage(msgspec.Struct, frozen=True, gc=False):
    """What the live channel carries for one entry: ``<upto> <covers> <kind> <epoch> <escaped text>``.

    A delta with logprobs has :data:`SCORED` for its kind, and a piece of ``shared.logprobs`` for its text.
    A Struct, for one is made per token: a frozen dataclass takes three times as long.
    """

    upto: int
    covers: int
    kind: bytes
    epoch: int
    text: bytes

    @classmethod
    def parse(cls, raw: bytes) -> LiveMessage:
        """Split a message.  Raises ValueError if it is not one."""
        upto, covers, kind, epoch, text = raw.split(b" ", 4)
        return cls(int(upto), int(covers), kind, int(epoch), text)


def escape(text: str) -> str:
    """Return ``text`` as the inside of a JSON string (RFC 8259 section 7), without its quotes."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def unescape(escaped: str) -> str:
    """Invert :func:`escape`."""
    return str(json.loads(f'"{escaped}"'))


def new_response_id(partition: int) -> str:
    """Make ``resp_<partition, 3 hex digits><128 random bits>``; the partition says which keys are its."""
    return f"resp_{partition:03x}{secrets.token_hex(16)}"


def partition_of(response_id: str) -> int:
    """Read the partition out of a response id.  Raises ValueError if it is not one of ours."""
    match = _RESPONSE_ID.fullmatch(response_id)
    if match is None:
        raise ValueError(f"not a response id: {response_id[:64]!r}")
    return int(match[1], 16)
