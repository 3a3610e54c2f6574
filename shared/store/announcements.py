"""What workers and gateways announce of themselves, as the server keeps it: one field a process."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from shared.store.contract import Announced, AnnouncedGateway, GatewayInfo, WorkerInfo

Announcement = TypeVar("Announcement", bound=msgspec.Struct)


class _OfWorker(msgspec.Struct, frozen=True, array_like=True):
    """The end of the lease (server seconds), and the announcement."""

    until: float
    info: WorkerInfo


class _OfGateway(msgspec.Struct, frozen=True, array_like=True):
    until: float
    info: GatewayInfo


def workers(raw: Iterable[bytes], now: float) -> list[Announced]:
    """Read the announcements of workers; ``now`` is the server's time in seconds."""
    return [Announced(each.info, now < each.until, each.until) for each in _readable(raw, _OfWorker)]


def gateways(raw: Iterable[bytes], now: float) -> list[AnnouncedGateway]:
    """Read the announcements of gateways."""
    return [AnnouncedGateway(each.info, now < each.until, each.until) for each in _readable(raw, _OfGateway)]


def _readable(raw: Iterable[bytes], kind: type[Announcement]) -> list[Announcement]:
    """Read what can be read: who announces itself in words of another version hides nobody else."""
    found = []
    for each in raw:
        try:
            found.append(msgspec.json.decode(each, type=kind))
        except (msgspec.MsgspecError, ValueError):  # bad UTF-8 is a ValueError
            continue
    return found
