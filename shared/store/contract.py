"""What the store promises, as two Protocols: one for gateways, one for workers.

Every verb may be repeated with the same arguments after a lost reply.  A verb that cannot reach the
server raises :class:`StoreUnavailable`; everything else it has to say is in its reply.  Times that are
compared with stored ones are the server's alone.

It is one file, and a long one, since a verb's promise is read together with what its reply may say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import msgspec

from shared.log import Entry, LiveMessage, Reason, Status
from shared.request import Request

MOST_ATTEMPTS = 3
"""Deaths of owners in a row, without progress, after which a response is not tried again."""
MOST_DEATHS = 8
"""Deaths in all, likewise."""
DELETED_SECONDS = 10.0
"""How long those who watched a response that was deleted while it ran may still read how it ended."""


class StoreUnavailable(Exception):
    """The server could not be asked, or its reply was lost: nothing is known, repeat the verb."""


# ---- replies to gateways -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Submitted:
    """The request stands in the log; ``duplicate`` if it stood there before (own retry or same key)."""

    response_id: str
    created_ms: int
    duplicate: bool
    place: int
    """Requests that wait before it; 0 if it is next or already claimed."""


@dataclass(frozen=True, slots=True)
class Overloaded:
    """The waiting set is full; nothing was written."""

    waiting: int
    median_run_seconds: float | None
    """Median of the last measured runs of this model, or None if none was measured."""


class Refused(StrEnum):
    """Why a gateway's verb did nothing."""

    UNKNOWN = "unknown"  # no such response for this principal
    GONE = "gone"  # the log was lost or expired
    BEHIND = "behind"  # the log ends before the cursor; its owner will write again: ask later
    RESET = "reset"  # what the reader has seen is not what the log holds
    OUT_OF_RANGE = "out_of_range"  # the cursor lies beyond the end of an ended response
    STORAGE_FULL = "storage_full"  # the server is out of memory; nothing was written
    UNREADABLE = "unreadable"  # a newer version wrote it, or it is damaged


@dataclass(frozen=True, slots=True)
class Followed:
    """What a reader misses: the entries with ``upto > next``, in order, and where the log stands."""

    request: Request
    created_ms: int
    status: Status
    last: int
    epoch: int
    entries: tuple[Entry, ...]
    place: int | None
    """Requests that wait before it, while it waits."""
    median_run_seconds: float | None = None
    """While it waits: median of the last measured runs of its model, or None if none was measured."""
    unreadable: str = ""
    """What is wrong with the entry behind these, if it means nothing to this version (ADR 0012)."""


@dataclass(frozen=True, slots=True)
class Watch:
    """One viewer's attachment to one response."""

    response_id: str
    watcher: str


@dataclass(frozen=True, slots=True)
class Attended:
    """Where a log stands, for a reader that hears nothing: it follows if this is beyond what it has."""

    status: Status
    last: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The response has ended; ``status`` says how, and ``already`` that it had before."""

    status: Status
    already: bool


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a stored response leaves to later requests."""

    request: Request
    text: str
    """JSON-escaped."""


class WorkerInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a worker announces of itself every few seconds."""

    worker: str
    model: str
    build: str
    """Fingerprint ``engine|revision|dtype``: only an equal one continues a started response exactly."""
    context_length: int
    slots: int
    running: int = 0
    draining: bool = False
    created: int = 0
    """Unix seconds at which the model was made, as ``GET /v1/models`` shows it."""
    reserve: int = 0
    """Of the slots, those that new requests never get: they are for what other workers hand over."""
    device: str = ""
    """What computes, as a person calls it: a GPU's name, or cpu."""
    keeps: str = ""
    """How it keeps answers to a JSON schema: ``shared.request.Keeps``, or a word of a later version."""
    version: str = ""
    probe: str = ""
    """host:port of its /metrics, as seen from where it runs."""
    prompt_tokens: int = 0
    """Computed since its start."""
    generated_tokens: int = 0
    """Made since its start."""

    @property
    def open_slots(self) -> int:
        """Slots that new requests may fill: what capacity and retry times are reckoned with."""
        return self.slots - self.reserve


@dataclass(frozen=True, slots=True)
class Announced:
    """A worker's announcement and whether its lease still stands."""

    info: WorkerInfo
    alive: bool
    until: float = 0.0
    """When its lease ends, server seconds: grows by what passed between two announcements."""


class GatewayInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a gateway announces of itself every few seconds; counts run since its start."""

    gateway: str
    version: str = ""
    probe: str = ""
    """host:port of its /metrics, as seen from where it runs."""
    sockets: int = 0
    streams: int = 0
    """HTTP streams."""
    viewers: int = 0
    draining: bool = False
    ended: dict[str, int] = {}
    """Responses by how they ended."""
    refused: int = 0
    first_token: tuple[int, ...] = ()
    """Answers by the time to their first token: a count per bucket of TTFT_BUCKETS, and one beyond."""
    inter_token: tuple[int, ...] = ()
    """Gaps between live deltas, likewise by ITL_BUCKETS."""


@dataclass(frozen=True, slots=True)
class AnnouncedGateway:
    """A gateway's announcement and whether its lease still stands."""

    info: GatewayInfo
    alive: bool
    until: float = 0.0
    """When its lease ends, server seconds: grows by what passed between two announcements."""


# ---- replies to workers --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claim:
    """A lease on one response: who owns it, under which epoch, and what was logged before."""

    request: Request
    queue_id: str
    nonce: str
    epoch: int
    upto: int
    created_ms: int
    queued_ms: int
    """Time from submission to this claim."""
    attempts: int
    entries: tuple[Entry, ...]
    """The whole log, so that a hand-over continues from its token ids."""
    reclaimed: bool = False
    """Taken from a worker that did not release it: it died, hung or was cut off."""

    @property
    def response_id(self) -> str:
        """The response claimed."""
        return self.request.response_id


@dataclass(frozen=True, slots=True)
class Append:
    """One delta to be logged: becomes entry ``<epoch>-<upto>``."""

    response_id: str
    epoch: int
    upto: int
    text: str
    """JSON-escaped."""
    ids: tuple[int, ...]
    prompt_tokens: int = 0
    cached_tokens: int = 0
    logprobs: str = ""
    """Of the ids' tokens, as ``shared.logprobs`` spells them."""


class AppendReply(StrEnum):
    """Answer to one append; the others in the batch are not affected."""

    OK = "ok"
    UNWATCHED = "unwatched"  # logged, but no gateway listened: a hint, the leases decide
    REFUSED = "refused"  # the id does not grow: ask `why`
    GONE = "gone"  # no such log: ask `why`
    STORAGE_FULL = "storage_full"  # the server is out of memory; append again later
    LOST = "lost"  # its node of the Cluster did not answer, others did: ask `why`


class Standing(StrEnum):
    """Whether a response is still ours."""

    OURS = "ours"
    FENCED = "fenced"  # another worker has it
    ENDED = "ended"  # somebody ended it
    GONE = "gone"  # its log or hash was lost
    LEFT = "left"  # renew only: its last viewer left long enough ago; finish it so
    UNKNOWN = "unknown"  # its node of the Cluster did not answer, others did: ask again


@dataclass(frozen=True, slots=True)
class Why:
    """Answer to `why`: the standing, and where the log ends (meaningful for OURS alone)."""

    standing: Standing
    last: int


@dataclass(frozen=True, slots=True)
class Tail:
    """What an ending carries so that usage is counted from the log alone."""

    ids: tuple[int, ...] = ()
    """Generated ids that no delta carries: an end token, or those behind a stop string."""
    prompt_tokens: int = 0
    """Set if no delta was written at all."""
    cached_tokens: int = 0


class FinishReply(StrEnum):
    """Answer to `finish`."""

    OK = "ok"
    BEHIND = "behind"  # the log does not end where the owner says: ask `why`, repair, finish again
    FENCED = "fenced"
    ENDED = "ended"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Leases:
    """Times of the store, in seconds."""

    lease: float = 10.0
    """A worker's lease; renewed every third of it."""
    attachment: float = 25.0
    """A viewer's lease; refreshed by `follow`."""
    retention: float = 600.0
    """How long a log is kept after its ending."""
    fit: float = 30.0
    """After the lease, how long a started response waits for a worker of an equal build."""
    conversation: float = 86_400.0
    """How long the state of a conversation is kept after the ending of each of its responses."""


class GatewayStore(Protocol):
    """The verbs of a gateway."""

    async def submit(
        self, request: Request, watcher: str | None, bound: int
    ) -> Submitted | Overloaded | Refused:
        """Check the bound, write request and log, enqueue and ring the bell, in one atomic step.

        ``watcher`` is attached from the start; None leaves the response unattended (background).
        ``bound`` is the greatest number of waiting requests of this model; each partition has its share of it.
        """

    def partition_for(self, principal: str, idempotency_key: str, draw: int) -> int:
        """Choose the partition of a new response: by its idempotency key if any, else by ``draw``."""

    async def partition_with_room(self, model: str, bound: int, draw: int) -> int | None:
        """Choose by ``draw`` among the partitions where fewer of the model wait than may; None if there is none."""

    async def cancel(self, response_id: str, principal: str) -> Cancelled | Refused:
        """End the response at once, whatever its state."""

    async def delete(self, response_id: str, principal: str) -> bool:
        """End the response if it runs and remove all of it; False if this principal has none such.

        No verb finds it any more, but for one: who watched it while it ran may follow it to its ending, for
        DELETED_SECONDS.  Repeated after a lost reply it is False: it is gone.
        """

    async def recall(self, response_id: str, principal: str) -> Remembered | Refused | None:
        """Return what a stored response has left, or None: it runs, failed, expired, or was never stored.

        UNREADABLE is the only refusal.
        """

    async def follow(
        self, response_id: str, principal: str, watcher: str | None, after: int, epoch: int | None
    ) -> Followed | Refused:
        """Attach (unless ``watcher`` is None) and return what comes after sequence number ``after``.

        ``after`` is -1 for everything; ``epoch`` is that of the last event seen, or None if unknown.
        """

    async def attend(self, watches: Sequence[Watch]) -> Sequence[Attended | None]:
        """Refresh attachment leases and say where each log ends; None if it is gone or cannot be asked now.

        The cheap look of the timer that re-checks silent readers, in one round trip for all of them.
        """

    async def detach(self, response_id: str, watcher: str) -> None:
        """Say that the watcher has left; `keep` counts from now if it was the last."""

    async def workers(self) -> Sequence[Announced]:
        """Return all announced workers, also lately dead ones."""

    async def announce(self, info: GatewayInfo) -> None:
        """Make this gateway known for a lease, to those who look after the whole; no gateway needs it."""

    async def retire(self) -> None:
        """Take this gateway's announcement back."""

    async def gateways(self) -> Sequence[AnnouncedGateway]:
        """Return all announced gateways, also lately dead ones."""

    async def waiting(self, model: str) -> int:
        """Count the accepted requests of the model that no worker has claimed yet."""

    async def sweep(self, model: str) -> int:
        """End what passed its deadline, of any model, and what of this one was left while it waited.

        Return how many.  One process at a time does it.
        """

    async def ping(self) -> None:
        """Raise StoreUnavailable unless the server answers."""


OnLive = Callable[[str, LiveMessage], None]
"""Called on the event loop with the response id and each live message, in the order of the link."""


class Live(Protocol):
    """The fast path: one subscriber connection per process.  May lose messages; the log never does.

    It is made with an :data:`OnLive` callback and a second one that is called after every new link,
    when all subscriptions stand again and whatever was published in between has been missed.
    """

    @property
    def connected(self) -> bool:
        """Whether a link stands; may be asked on any thread."""

    async def subscribe(self, response_id: str) -> None:
        """Return once the server has confirmed the subscription."""

    def unsubscribe(self, response_id: str) -> None:
        """Stop listening."""


class WorkerStore(Protocol):
    """The verbs of a worker.  The store is made for one worker: its name, model and build are fixed."""

    async def claim(self, room: int, solo: Callable[[], bool], fresh: int | None = None) -> Sequence[Claim]:
        """Take up to ``room`` responses: handed-over ones before waiting ones.

        A waiting one is taken only while fewer than ``fresh`` (by default ``room``) are taken in all: what
        is left of the room is a reserve for hand-overs.
        ``solo()`` says, asked before each, whether a suspect (one that died without progress) may be
        admitted now, alone.  Once one is taken nothing more is.
        """

    async def append(self, batch: Sequence[Append], link: int | None = None) -> Sequence[AppendReply]:
        """Log and publish one step's deltas in one round trip; one reply each, in order.

        StoreUnavailable if nobody answered; in a Cluster LOST for the nodes that did not.  With ``link`` they
        go out on that very link or not at all (StoreUnavailable).
        """

    async def why(self, claims: Sequence[Claim], link: int | None = None) -> Sequence[Why]:
        """Ask how each claim stands: after a refusal, and before the first append on a new link.

        StoreUnavailable if nobody answered; in a Cluster UNKNOWN for the nodes that did not.  With ``link`` it
        is asked on that very link or not at all (StoreUnavailable): an append that goes out on the link that
        was asked finds the log as it was told.
        """

    @property
    def link(self) -> int:
        """Number of the connection to the server, or to all nodes; a new one means `why` must be asked anew."""

    async def renew(self, claims: Sequence[Claim]) -> Sequence[Standing]:
        """Extend the leases of the claims that are still ours; UNKNOWN where a Cluster's node is away."""

    async def release(self, claim: Claim) -> None:
        """Hand over: make the response takeable now, without counting an attempt."""

    async def finish(
        self, claim: Claim, upto: int, reason: Reason, message: str = "", tail: Tail | None = None
    ) -> FinishReply:
        """Write the ending after event ``upto``, with what had no text to ride with."""

    async def announce(self, info: WorkerInfo) -> None:
        """Make this worker known for a lease."""

    async def retire(self) -> None:
        """Take this worker's announcement back."""

    async def bell(self, seconds: float) -> None:
        """Sleep until work may have come, at most ``seconds``."""

    async def ping(self) -> None:
        """Raise StoreUnavailable unless the server answers."""
