"""Looks at the store and at who announces itself there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from shared.store.check import check_server
from shared.store.connect import connect
from shared.store.contract import Announced, AnnouncedGateway, StoreUnavailable
from shared.store.gateway import RedisGatewayStore
from shared.store.link import Server
from shared.store.place import parse
from tokenwire.doctor.findings import Finding, Verdict, skew


async def examine(redis_url: str, partitions: int) -> list[Finding]:
    """Look at settings, clock, workers and gateways.  Raises SettingsError if the URL is none."""
    link = connect(redis_url)
    try:
        return await _look(link, redis_url, partitions)
    except StoreUnavailable as problem:
        return [Finding("store", Verdict.PROBLEM, f"{problem}. Is REDIS_URL the one of the gateways?")]
    finally:
        await link.close()


async def _look(link: Server, redis_url: str, partitions: int) -> list[Finding]:
    problems = await check_server(link, parse(redis_url), partitions)
    found = [
        Finding("store", Verdict.PROBLEM if each.refusal else Verdict.NOTE, each.sentence)
        for each in problems
    ]
    found = found or [Finding("store", Verdict.OK, "The store is fit to hold logs.")]
    store = RedisGatewayStore(link, name="doctor", partitions=partitions)
    workers, gateways, clock = await asyncio.gather(store.workers(), store.gateways(), _skew(link))
    return [*found, skew(clock), *of_workers(workers), *of_gateways(gateways)]


async def _skew(link: Server) -> float:
    """Return by how many seconds the store's clock is ahead, as well as a round trip lets it be known."""
    before = time.time()
    seconds, microseconds = await link.command("TIME")
    middle = (before + time.time()) / 2
    return int(seconds) + int(microseconds) / 1e6 - middle


def of_workers(announced: Sequence[Announced]) -> list[Finding]:
    """Say which models are served, on what; pure."""
    alive = [each.info for each in announced if each.alive and not each.info.draining]
    if not alive:
        return [Finding("workers", Verdict.PROBLEM, "No worker is alive: start one, or see its log.")]
    found = []
    for model in sorted({info.model for info in alive}):
        mine = [info for info in alive if info.model == model]
        devices = ", ".join(sorted({info.device or "an engine that does not say on what" for info in mine}))
        slots = sum(info.slots for info in mine)
        sentence = f"{model}: {len(mine)} workers, {slots} slots, on {devices}."
        found.append(Finding("workers", Verdict.OK, sentence))
        if len({info.build for info in mine}) > 1:
            sentence = (
                f"The workers of {model} differ in engine, revision or precision, so an answer whose worker dies may wait 30 s "
                "for an equal one: give all of them the same model and DTYPE."
            )
            found.append(Finding("builds", Verdict.NOTE, sentence))
    return found


def of_gateways(announced: Sequence[AnnouncedGateway]) -> list[Finding]:
    """Say how many gateways there are, and whether they are of one version; pure."""
    alive = [each.info for each in announced if each.alive]
    if not alive:
        return [
            Finding("gateways", Verdict.PROBLEM, "No gateway announces itself in this store: is it theirs?")
        ]
    versions = sorted({info.version for info in alive})
    if len(versions) > 1:
        sentence = f"Gateways run the versions {', '.join(versions)}: finish the rollout before the next one."
        return [Finding("gateways", Verdict.NOTE, sentence)]
    return [Finding("gateways", Verdict.OK, f"{len(alive)} gateways are alive.")]
