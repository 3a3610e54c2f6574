"""Every Redis name of Tokenwire, on one page.

``{pK}`` is the hash tag of partition K: all keys of one response lie in one Cluster slot, so that one
script may touch them.  K is written in the response id, hence the number of partitions may change.

| name | type | holds | ends by |
|---|---|---|---|
| ``{pK}q:MODEL`` | stream, group ``w`` | one entry per accepted response | entries deleted at the ending; the key is permanent |
| ``{pK}w:MODEL`` | sorted set | response id -> time of submission; accepted, unclaimed, not ended | empties itself |
| ``{pK}d`` | sorted set | response id -> deadline (queue's, then run's) | empties itself |
| ``{pK}t:MODEL`` | list | run times of the last 64 finished responses, ms | permanent, 64 numbers |
| ``{pK}sweep:MODEL`` | string | who sweeps | TTL, about a second |
| ``{pK}pulse`` | hash | since when gateways have reached this partition without a gap | TTL, a day |
| ``{pK}b:MODEL`` | channel | the bell: work may have come | - |
| ``{pK}r:ID`` | hash | request, principal, status, owner, epoch | TTL |
| ``{pK}l:ID`` | stream | the log | TTL |
| ``{pK}a:ID`` | sorted set | watcher -> end of its attachment lease | TTL |
| ``{pK}m:ID`` | hash | conversation state of a stored response: principal, request, escaped text | TTL |
| ``{pK}u:DAY`` | hash | the ledger of a day (days since 1970, UTC): what:principal -> count | TTL, 400 days |
| ``{pK}c:ID`` | channel | the live messages | - |
| ``{pK}i:DIGEST`` | string | idempotency key (with its principal) -> response id | TTL |
| ``workers`` | hash | worker name -> announcement | a day after the last announcement |
| ``gateways`` | hash | gateway name -> announcement | a day after the last announcement |
| ``{auth}k`` | hash | id of an API key -> name, digest, expiry, quota | permanent: a field goes when its key is revoked |
| ``{auth}n:DIGEST`` | string | when a principal's tokens were revoked | TTL, 30 days |
| ``{auth}c`` | channel | the control channel: what was revoked | - |
| ``{uDIGEST}running`` | sorted set | a principal's response ids -> when each took its place | TTL, the longest run |
| ``{uDIGEST}reserved`` | hash | response id -> what it has reserved of ``tokens`` and may give back | TTL, the longest run |
| ``{uDIGEST}sockets``, ``{aDIGEST}sockets`` | hash | gateway -> its sockets of a principal or address, and until when | TTL, 30 s |
| ``{uDIGEST}BUCKET``, ``{aDIGEST}BUCKET`` | string | ``requests``, ``tokens``, ``messages``: when the bucket is full again | TTL, up to a minute |
| ``ticket:DIGEST`` | string | whom a ticket lets in | TTL, 30 s; gone when used |
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from shared.log import partition_of

GROUP = "w"
WORKERS = "workers"
GATEWAYS = "gateways"
ANNOUNCEMENTS_MS = 86_400_000
"""How long workers and gateways are remembered after the last announcement."""
API_KEYS = "{auth}k"
CONTROL = "{auth}c"


@dataclass(frozen=True, slots=True)
class ResponseKeys:
    """The keys of one response."""

    hash: str
    log: str
    channel: str
    attachments: str
    deadlines: str

    @property
    def all(self) -> tuple[str, ...]:
        """In the order in which the scripts take them."""
        return (self.hash, self.log, self.channel, self.attachments, self.deadlines)


def tag(partition: int) -> str:
    """Return the hash tag of a partition."""
    return f"{{p{partition}}}"


def of_response(response_id: str) -> ResponseKeys:
    """Return the keys of a response.  Raises ValueError if the id is not one of ours."""
    t = tag(partition_of(response_id))
    return ResponseKeys(
        hash=f"{t}r:{response_id}",
        log=f"{t}l:{response_id}",
        channel=f"{t}c:{response_id}",
        attachments=f"{t}a:{response_id}",
        deadlines=f"{t}d",
    )


def of_model(partition: int, model: str) -> tuple[str, str, str]:
    """Return queue, waiting set and run times of a model, in the order in which the scripts take them."""
    t = tag(partition)
    return (f"{t}q:{model}", f"{t}w:{model}", f"{t}t:{model}")


def of_claim(response_id: str, model: str) -> tuple[str, ...]:
    """Return all that a worker's script may touch, in the order in which it takes them."""
    return (*of_response(response_id).all, *of_model(partition_of(response_id), model))


def deadlines(partition: int) -> str:
    """Return the set of deadlines."""
    return f"{tag(partition)}d"


def sweeper(partition: int, model: str) -> str:
    """Return the key that says who sweeps."""
    return f"{tag(partition)}sweep:{model}"


def bell(partition: int, model: str) -> str:
    """Return the channel that wakes idle workers."""
    return f"{tag(partition)}b:{model}"


def channel(response_id: str) -> str:
    """Return the live channel of a response."""
    return f"{tag(partition_of(response_id))}c:{response_id}"


def conversation(response_id: str) -> str:
    """Return the key of what a stored response leaves to later requests."""
    return f"{tag(partition_of(response_id))}m:{response_id}"


def idempotency(partition: int, principal: str, key: str) -> str:
    """Return the key that remembers a client's idempotency key, scoped by its principal."""
    return f"{tag(partition)}i:{_digest(principal, key)}"


def idempotency_partition(principal: str, key: str, partitions: int) -> int:
    """Return the partition in which a response with this idempotency key must be made."""
    return int(_digest(principal, key)[:8], 16) % partitions


def ledger(partition: int, day: int) -> str:
    """Return the ledger of one day, in days since 1970."""
    return f"{tag(partition)}u:{day}"


def revoked(principal: str) -> str:
    """Return the key that says when a principal's tokens were revoked."""
    return f"{{auth}}n:{_digest(principal, '')}"


def meter(who: str, name: str, what: str) -> str:
    """Return the key of one thing that is counted of a principal (``u``) or an address (``a``)."""
    return f"{{{who}{_digest(name, '')}}}{what}"


def ticket(digest: str) -> str:
    """Return the key of a ticket; the digest is all that is kept of it."""
    return f"ticket:{digest}"


def _digest(principal: str, key: str) -> str:
    return hashlib.sha256(f"{len(principal)}:{principal}{key}".encode()).hexdigest()[:32]
