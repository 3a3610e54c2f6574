"""Who is struck when: a function of the seed alone; pure."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """Kinds of strikes."""

    KILL_WORKER = "kill worker"
    FREEZE_WORKER = "freeze worker"
    DRAIN_WORKER = "drain worker"
    CUT_WORKER_LINK = "cut worker link"
    DELAY_WORKER_LINK = "delay worker link"
    HOLD_WORKER_LINK = "hold worker link"
    KILL_GATEWAY = "kill gateway"
    FREEZE_GATEWAY = "freeze gateway"
    DRAIN_GATEWAY = "drain gateway"
    CUT_GATEWAY_LINK = "cut gateway link"
    DELAY_GATEWAY_LINK = "delay gateway link"
    CUT_LIVE_LINK = "cut live link"
    DROP_LIVE = "drop live messages"
    POISON = "poison prompt"
    OVERLOAD = "overload burst"
    RESTART_SERVER = "restart server"
    SLOW_SERVER = "slow server"
    CUT_SUBSCRIBERS = "cut subscribers"
    OVERRUN_SUBSCRIBER = "overrun subscriber"
    KILL_SERVER = "kill server"
    LOSE_TAIL = "lose tail with owner"
    FILL_MEMORY = "fill memory"
    FAIL_OVER = "fail over"
    MOVE_SLOTS = "move slots"
    LOSE_NODE = "lose node"
    EVICTING = "evicting server"

    @property
    def on_worker(self) -> bool:
        """Whether a worker, or a worker's link, is struck."""
        return self in WORKER_FAULTS

    @property
    def on_gateway(self) -> bool:
        """Whether a gateway, or one of its links, is struck."""
        return self in GATEWAY_FAULTS

    @property
    def on_server(self) -> bool:
        """Whether a server is struck, and with it whatever lies there."""
        return self in SERVER_FAULTS


WORKER_FAULTS = (
    Fault.KILL_WORKER,
    Fault.FREEZE_WORKER,
    Fault.CUT_WORKER_LINK,
    Fault.DRAIN_WORKER,
    Fault.HOLD_WORKER_LINK,
    Fault.DELAY_WORKER_LINK,
)
GATEWAY_FAULTS = (
    Fault.KILL_GATEWAY,
    Fault.CUT_GATEWAY_LINK,
    Fault.CUT_LIVE_LINK,
    Fault.DROP_LIVE,
    Fault.FREEZE_GATEWAY,
    Fault.DRAIN_GATEWAY,
    Fault.DELAY_GATEWAY_LINK,
)
CLIENT_FAULTS = (Fault.POISON, Fault.OVERLOAD)
FLEET_FAULTS = (*WORKER_FAULTS, *GATEWAY_FAULTS, *CLIENT_FAULTS)
"""Those that one server is enough for."""
SERVER_FAULTS = (
    Fault.RESTART_SERVER,
    Fault.SLOW_SERVER,
    Fault.CUT_SUBSCRIBERS,
    Fault.OVERRUN_SUBSCRIBER,
    Fault.KILL_SERVER,
    Fault.LOSE_TAIL,
    Fault.FILL_MEMORY,
    Fault.FAIL_OVER,
    Fault.MOVE_SLOTS,
    Fault.LOSE_NODE,
    Fault.EVICTING,
)
"""Those of the suite of Redis faults (tokenwire.audit.acts)."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One planned fault."""

    at: float
    """Seconds from the beginning."""
    fault: Fault
    target: int = 0
    """Index of the worker or gateway."""
    seconds: float = 0.0
    """How long it lasts, where that is chosen."""
    share: float = 0.0
    """Of the live messages that are dropped."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a schedule is made for."""

    seconds: float
    workers: int = 3
    gateways: int = 2
    lease: float = 3.0
    spacing: float = 5.0
    """Seconds between strikes at the same tier, about."""
    faults: frozenset[Fault] = frozenset(FLEET_FAULTS)
    """Kinds to be used."""


QUIET_START, QUIET_END = 3.0, 6.0
"""Seconds without strikes: for the load to build up, and for the last hand-overs to be seen."""


def strikes(seed: int, shape: Shape) -> list[Strike]:
    """Plan the strikes of a run, in order of time."""
    draw = random.Random(f"strikes {seed}")  # noqa: S311 - a schedule that replays, not a secret
    found = [
        *_track(draw, WORKER_FAULTS, shape, shape.workers, QUIET_START),
        *_track(draw, GATEWAY_FAULTS, shape, shape.gateways, QUIET_START + shape.spacing / 2),
        *_by_clients(draw, shape),
    ]
    return sorted(found, key=lambda strike: strike.at)


def _track(
    draw: random.Random, faults: Sequence[Fault], shape: Shape, targets: int, begin: float
) -> Iterator[Strike]:
    """Strike one tier again and again: all kinds in turn, shuffled anew each round, targets in turn."""
    kinds = [fault for fault in faults if fault in shape.faults]
    at, target = begin, draw.randrange(targets)
    deck: list[Fault] = []
    while kinds and at < shape.seconds - QUIET_END:
        if not deck:
            deck = draw.sample(kinds, len(kinds))
        fault = deck.pop()
        target = (target + 1 + draw.randrange(max(1, targets - 1))) % targets
        yield Strike(at, fault, target, _lasting(draw, fault, shape.lease), _share(draw, fault))
        at += shape.spacing * draw.uniform(0.8, 1.2)


def _lasting(draw: random.Random, fault: Fault, lease: float) -> float:
    match fault:
        case Fault.FREEZE_WORKER:
            return lease + draw.uniform(1.0, 2.0)  # past the lease: it wakes as a zombie
        case Fault.HOLD_WORKER_LINK:
            return lease + draw.uniform(
                1.2, 1.8
            )  # past the lease: what was sent before arrives as a zombie's
        case Fault.FREEZE_GATEWAY:
            return draw.uniform(1.5, 3.0)
        case Fault.CUT_WORKER_LINK | Fault.CUT_GATEWAY_LINK:
            return draw.choice((0.0, 0.5, 1.0))  # a reset, or a hole for so long
        case Fault.DELAY_WORKER_LINK | Fault.DELAY_GATEWAY_LINK | Fault.DROP_LIVE:
            return draw.uniform(1.5, 2.5)
        case _:
            return 0.0


def _share(draw: random.Random, fault: Fault) -> float:
    return draw.choice((0.05, 0.2, 1.0)) if fault is Fault.DROP_LIVE else 0.0


_EVERY = {Fault.POISON: 60.0, Fault.OVERLOAD: 30.0}
"""Seconds between two of what clients do all together, or to all; at least one of each."""


def _by_clients(draw: random.Random, shape: Shape) -> Iterator[Strike]:
    usable = shape.seconds - QUIET_START - QUIET_END
    for fault, every in _EVERY.items():
        count = max(1, round(usable / every))
        for n in range(count if fault in shape.faults else 0):
            yield Strike(QUIET_START + usable * (n + draw.uniform(0.2, 0.6)) / count, fault)
