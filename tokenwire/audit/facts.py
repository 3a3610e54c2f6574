"""What one response's history tells the whole run: who owned it, who watched it, how a stop went; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from shared.log import Entry, Kind, Reason
from tokenwire.audit.asks import Doing
from tokenwire.audit.history import History, saw_lost_ending, told_lost
from tokenwire.audit.schedule import Fault
from tokenwire.audit.transcript import DELTA, Viewing

_SILENT = 0.25


@dataclass(frozen=True, slots=True)
class Struck:
    """A strike that was carried out; times are the machine's."""

    fault: Fault
    target: str
    """Name of the worker, or index of the gateway as text; empty for clients' strikes."""
    begin: float
    end: float
    """When the struck one was at work again."""
    exit_seconds: float = 0.0
    """A drain: from SIGTERM to the end of the process."""
    exit_code: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Owned:
    """A time in which one worker owned a response."""

    owner: str
    begin: float
    end: float
    handed: bool
    """Another worker went on."""
    seen: float
    """When a viewer that was there saw the other worker's first event; else when it claimed."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A time in which a gateway served a viewer of a response that had not ended."""

    gateway: str
    begin: float
    end: float
    code: int
    ours: bool
    """The client ended it, or the response did."""
    slow: bool
    unseen: float
    """Seconds from the response's ending to the end of this socket, if the ending never came on it."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """A press of Stop and what came of it."""

    at: float
    seen: float
    """When the viewer that pressed it saw the ending; 0 if it could not."""
    gateways: tuple[str, ...]
    owner: str
    tokens: int
    """Deltas that the viewer got after the stop."""
    queued: bool
    freed: float
    """When the worker let go of it; 0 if nobody said so."""
    ended: float
    one_socket: bool
    """The viewer's socket stood from the stop to the ending."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One response, as far as the whole run needs it."""

    response_id: str
    doing: str
    owned: tuple[Owned, ...]
    watched: tuple[Watched, ...]
    stopped: Stopped | None
    left_at: float
    ended: float
    reason: Reason | None
    ids: int
    resumes: int
    elsewhere: int
    """Resumes at another gateway than before."""
    merged: int
    watching: tuple[tuple[str, float], ...] = ()
    """If it was ended as left: gateway and beginning of each socket that was open to it then."""
    told_lost: int = 0
    """Viewers that were told that what they had seen is lost."""
    lost_endings: int = 0
    """Viewers that had seen an ending which a server lost then."""
    silences: tuple[tuple[float, float], ...] = ()
    """Times over a quarter second in which one that stayed saw nothing new."""


def fact(history: History, freed: Mapping[str, float]) -> Fact:
    """Extract what the whole run needs; ``freed`` says when a worker let go of a response."""
    ending = history.ending
    pairs = [
        (before, after)
        for viewing in history.viewings
        for before, after in pairwise(viewing.stays)
        if after.after != -2
    ]
    return Fact(
        response_id=history.response_id,
        doing=history.viewings[0].doing if history.viewings else "",
        owned=tuple(_owned(history)),
        watched=tuple(_watched(history)),
        stopped=_stopped(history, freed),
        left_at=max((viewing.left_at for viewing in history.viewings), default=0.0),
        ended=ending.at / 1000 if ending else 0.0,
        reason=ending.reason if ending else None,
        ids=sum(len(entry.ids) for entry in history.log or ()),
        resumes=len(pairs),
        elsewhere=sum(1 for before, after in pairs if before.gateway != after.gateway),
        merged=sum(seen.number - seen.first for viewing in history.viewings for seen in viewing.seen),
        watching=tuple(_watching(history)),
        told_lost=sum(map(told_lost, history.viewings)),
        lost_endings=sum(saw_lost_ending(history, viewing) for viewing in history.viewings),
        silences=tuple(_silences(history)),
    )


def _watching(history: History) -> Iterator[tuple[str, float]]:
    """Yield the sockets that were open when a response was ended as left.

    A slow reader does not notice that its gateway has gone until it reads again: it had left.
    """
    ending = history.ending
    if ending is None or ending.reason is not Reason.LEFT:
        return
    at = ending.at / 1000
    for viewing in history.viewings:
        for stay in viewing.stays:
            stands = stay.opened < at - 0.5 and (not stay.closed or stay.closed > at + 0.5)
            if stands and not (viewing.doing == Doing.SLOW and stay.code):
                yield str(stay.gateway), stay.opened


def _silences(history: History) -> Iterator[tuple[float, float]]:
    for viewing in history.viewings:
        if viewing.viewer == 0 and viewing.doing in (Doing.PLAIN, Doing.STOP, Doing.WATCH):
            running = (seen.at for seen in viewing.seen if seen.type == DELTA)
            yield from ((a, b) for a, b in pairwise(running) if b - a > _SILENT)


def _owned(history: History) -> Iterator[Owned]:
    claims = [e for e in history.log or () if e.kind in (Kind.STARTED, Kind.HANDED, Kind.ENDED)]
    for claim, after in pairwise(claims):
        handed = after.kind is Kind.HANDED
        seen = _first_seen(history.viewings, after) if handed else 0.0
        yield Owned(claim.owner, claim.at / 1000, after.at / 1000, handed, seen)


def _first_seen(viewings: Iterable[Viewing], claim: Entry) -> float:
    """Return when somebody who was there all the time saw the first event of a new owner."""
    at = claim.at / 1000
    for viewing in viewings:
        present = any(stay.opened < at - 0.5 and (stay.closed or at + 60) > at for stay in viewing.stays)
        if present and viewing.doing != Doing.SLOW:
            first = next((seen.at for seen in viewing.seen if seen.epoch == claim.epoch), 0.0)
            stay = next(
                (stay for stay in viewing.stays if stay.opened < at and (stay.closed or at) >= at), None
            )
            if first and stay is not None and (not stay.closed or stay.closed >= first):
                return max(at, first)
    return at


def _watched(history: History) -> Iterator[Watched]:
    ended = history.ending.at / 1000 if history.ending else float("inf")
    for viewing in history.viewings:
        brought = viewing.seen[-1].stay if viewing.ending is not None and viewing.seen else -1
        for n, stay in enumerate(viewing.stays):
            end = stay.closed or viewing.over_at
            ours = stay.by_client or not stay.in_flight
            slow = viewing.doing == Doing.SLOW
            unseen = max(0.0, end - max(ended, stay.opened)) if n != brought and not slow else 0.0
            yield Watched(str(stay.gateway), stay.opened, end, stay.code, ours, slow, unseen)


def _stopped(history: History, freed: Mapping[str, float]) -> Stopped | None:
    viewing = next((viewing for viewing in history.viewings if any(s.said for s in viewing.stops)), None)
    ending = history.ending
    if viewing is None or ending is None or ending.reason is not Reason.CANCELLED:
        return None
    stop = next(stop for stop in viewing.stops if stop.said)
    stay = next((s for s in viewing.stays if s.opened <= stop.at <= (s.closed or stop.at)), None)
    claims = [e for e in history.log or () if e.kind in (Kind.STARTED, Kind.HANDED)]
    return Stopped(
        at=stop.at,
        seen=viewing.over_at if viewing.over == "ended" else 0.0,
        gateways=tuple({str(stop.gateway), str(stay.gateway) if stay else str(stop.gateway)}),
        owner=claims[-1].owner if claims else "",
        tokens=sum(1 for seen in viewing.seen if seen.at > stop.at and seen.type.endswith("text.delta")),
        queued=not claims,
        freed=freed.get(history.response_id, 0.0),
        ended=ending.at / 1000,
        one_socket=stay is not None and (stay.closed or viewing.over_at) >= viewing.over_at - 0.001,
    )
