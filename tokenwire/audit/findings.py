"""The promises, and what the checker has to say about them; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.log import partition_of


class Promise(StrEnum):
    """The rows of the report; DESIGN.md section 1 and docs/reliability.md say them in full."""

    SAME_TEXT = "P1 same text, once, in order"
    ANY_GATEWAY = "P2 any gateway will do"
    PAUSE = "P3 a worker's death is a pause"
    NO_ZOMBIE = "P4 no zombie writes"
    ONE_ENDING = "P5 one ending"
    STOP = "P6 stop means stop"
    DOOR = "P7 refuse at the door"
    NEIGHBOURS = "P8 harm only themselves"
    DEPLOYS = "P9 deploys are invisible"
    NOTHING_LEFT = "nothing is left over"


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was not kept."""

    promise: Promise
    kind: str
    response_id: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.response_id} {self.detail}".rstrip()


@dataclass(frozen=True, slots=True)
class Rules:
    """What the fleet was told, as far as it decides what is right; seconds."""

    lease: float = 3.0
    keep: float = 3.0
    attachment: float = 4.0
    slots: int = 64
    bound: int = 64
    mark: bool = True
    """Every token names its response, its position and its writer."""
    exact: bool = True
    """The echo engine's rule says the whole text; else only the log does."""
    lossy: bool = False
    """The servers may lose what they had acknowledged; whoever saw it must be told, and shown nothing else."""
    full: bool = False
    """The servers' memory may be full: running answers then end openly."""
    stop_seconds: float = 1.0
    """From a stop to its ending at the client, and to the slot being free."""
    pause_slack: float = 2.0
    """Over the lease, where a slot is free."""
    silence: float = 4.0
    """From an ending to its viewers, also if the live message of it was lost."""
    drain_pause: float = 1.5
    """From a worker's drain to the next token elsewhere, where a slot is free."""
    drain_exit: float = 10.0
    """From SIGTERM to the end of the process."""


def spelled(partitions: Sequence[int]) -> str:
    """Name partitions as the target of a strike; see :func:`hits`."""
    return ",".join(f"p{partition}" for partition in sorted(partitions))


def hits(target: str, response_id: str) -> bool:
    """Say whether a strike at servers hits a response: all of them unless it names partitions."""
    return not target.startswith("p") or f"p{partition_of(response_id)}" in target.split(",")
