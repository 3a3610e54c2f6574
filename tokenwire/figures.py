"""What two looks at the announcements tell: rates, quantiles and sums; pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from shared.observe import ITL_BUCKETS, TTFT_BUCKETS
from shared.store.contract import Announced, AnnouncedGateway

T = TypeVar("T", Announced, AnnouncedGateway)


@dataclass(frozen=True, slots=True)
class Look:
    """What was announced at one moment, and what waited then, by model."""

    gateways: Sequence[AnnouncedGateway]
    workers: Sequence[Announced]
    waiting: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class GatewayRow:
    """One gateway."""

    gateway: str
    state: str
    version: str
    sockets: int
    streams: int
    viewers: int
    answers_per_second: float | None


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """One worker."""

    worker: str
    state: str
    version: str
    model: str
    device: str
    running: int
    slots: int
    tokens_per_second: float | None


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds, over the time between the looks; None without traffic."""

    first_token_p50: float | None
    first_token_p95: float | None
    between_tokens_p50: float | None
    between_tokens_p95: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that `tokenwire top` shows."""

    gateways: Sequence[GatewayRow]
    workers: Sequence[WorkerRow]
    waiting: Mapping[str, int]
    running: int
    slots: int
    tokens_per_second: float | None
    latencies: Latencies


def figures(first: Look, last: Look) -> Figures:
    """Compare two looks.  A process that was seen once has no rate; one that began anew counts from its start."""
    workers = [_worker(each, _same(each, first.workers)) for each in _known(last.workers)]
    rates = [row.tokens_per_second for row in workers if row.tokens_per_second is not None]
    alive = [each.info for each in last.workers if each.alive]
    return Figures(
        gateways=[_gateway(each, _same(each, first.gateways)) for each in _known(last.gateways)],
        workers=workers,
        waiting=last.waiting,
        running=sum(info.running for info in alive),
        slots=sum(info.slots for info in alive),
        tokens_per_second=sum(rates) if rates else None,
        latencies=_latencies(first, last),
    )


def quantile(q: float, counts: Sequence[int], edges: Sequence[float]) -> float | None:
    """Return a quantile of bucket counts, as Prometheus does: linear within a bucket, its last edge beyond."""
    rank = q * sum(counts)
    if not rank:
        return None
    below = 0
    for count, (low, high) in zip(counts, itertools.pairwise((0.0, *edges)), strict=False):
        if count and below + count >= rank:
            return low + (high - low) * (rank - below) / count
        below += count
    return edges[-1]


def _name(each: Announced | AnnouncedGateway) -> str:
    return each.info.worker if isinstance(each, Announced) else each.info.gateway


def _known(announced: Iterable[T]) -> list[T]:
    """Return the living, then the dead, each by name."""
    return sorted(announced, key=lambda each: (not each.alive, _name(each)))


def _same(one: T, before: Iterable[T]) -> T | None:
    """Return the earlier announcement of the same process, if it has announced itself anew since."""
    return next((each for each in before if _name(each) == _name(one) and each.until < one.until), None)


def _state(*, alive: bool, draining: bool) -> str:
    if not alive:
        return "gone"
    return "draining" if draining else "ready"


def _gateway(one: AnnouncedGateway, before: AnnouncedGateway | None) -> GatewayRow:
    info = one.info
    rate = None
    if before is not None:
        ended = sum(info.ended.values()) - sum(before.info.ended.values())
        rate = max(0, ended) / (one.until - before.until)
    return GatewayRow(
        gateway=info.gateway,
        state=_state(alive=one.alive, draining=info.draining),
        version=info.version,
        sockets=info.sockets,
        streams=info.streams,
        viewers=info.viewers,
        answers_per_second=rate,
    )


def _worker(one: Announced, before: Announced | None) -> WorkerRow:
    info = one.info
    rate = None
    if before is not None:
        made = info.generated_tokens - before.info.generated_tokens
        rate = max(0, made) / (one.until - before.until)
    return WorkerRow(
        worker=info.worker,
        state=_state(alive=one.alive, draining=info.draining),
        version=info.version,
        model=info.model,
        device=info.device,
        running=info.running,
        slots=info.slots,
        tokens_per_second=rate,
    )


def _latencies(first: Look, last: Look) -> Latencies:
    tokens, gaps = [0] * (len(TTFT_BUCKETS) + 1), [0] * (len(ITL_BUCKETS) + 1)
    for each in last.gateways:
        before = _same(each, first.gateways)
        if each.alive and before is not None:
            tokens = _added(tokens, each.info.first_token, before.info.first_token)
            gaps = _added(gaps, each.info.inter_token, before.info.inter_token)
    return Latencies(
        quantile(0.5, tokens, TTFT_BUCKETS),
        quantile(0.95, tokens, TTFT_BUCKETS),
        quantile(0.5, gaps, ITL_BUCKETS),
        quantile(0.95, gaps, ITL_BUCKETS),
    )


def _added(counts: Sequence[int], now: Sequence[int], before: Sequence[int]) -> list[int]:
    """Add what was counted between two announcements; another version's buckets are left out."""
    if not len(now) == len(before) == len(counts):
        return list(counts)
    return [each + max(0, a - b) for each, a, b in zip(counts, now, before, strict=True)]
