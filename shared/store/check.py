"""Is the server fit to hold logs?  Looked at when a process starts, and now and then after.

Each problem is a sentence that says what to set.  A refusal is one with which answers could be lost or cut
without a sign; everything else is a warning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.observe import Log
from shared.settings import SettingsError
from shared.store.call import ServerError
from shared.store.codec import text_of
from shared.store.contract import StoreUnavailable
from shared.store.link import Link, Server
from shared.store.place import Kind, Topology

LEAST_REDIS = (7, 0)
LEAST_VALKEY = (8, 0)
CLUSTER_PARTITIONS = 64
"""What PARTITIONS should be at least for a Cluster: enough for every node to get its share."""
_AOF_MENDED = (9, 1)
"""Valkey from here on cuts a torn transaction off a truncated AOF whole (valkey-io/valkey#4342)."""
_PUBSUB_HARD, _PUBSUB_SOFT = 32 << 20, 8 << 20
_LATELY_SECONDS = 600
_AGAIN_SECONDS = 60.0
_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a server, and what to set."""

    sentence: str
    refusal: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What one server says of itself; ``config`` is empty where CONFIG GET is not allowed."""

    info: Mapping[str, str]
    config: Mapping[str, str]

    def number(self, name: str) -> int:
        """Return a number of INFO, 0 if it is not there."""
        return int(self.info.get(name) or 0)


async def check_server(server: Server, topology: Topology, partitions: int) -> list[Problem]:
    """Look at every server that holds keys.  Raises StoreUnavailable if one does not answer."""
    facts = await asyncio.gather(*(_facts(link) for link in await server.primaries()))
    found = [problem for each in facts for problem in judge(each, topology)]
    if topology.kind is Kind.CLUSTER and partitions < CLUSTER_PARTITIONS and len(facts) > 1:
        found.append(
            Problem(
                f"PARTITIONS is {partitions}, so the nodes of the Cluster get unequal shares: "
                f"set PARTITIONS={CLUSTER_PARTITIONS} in all processes."
            )
        )
    return list(dict.fromkeys(found))


class Watchman:
    """Looks at the server when a process starts, and now and then while it runs."""

    def __init__(self, server: Server, topology: Topology, partitions: int, log: Log) -> None:
        self._server = server
        self._topology = topology
        self._partitions = partitions
        self._log = log
        self._pause = _RETRY_SECONDS

    async def at_start(self) -> None:
        """Log the warnings.  Raises SettingsError with the refusals.

        A server that does not answer yet is looked at as soon as it does.
        """
        try:
            problems = await self._look()
        except StoreUnavailable as error:
            self._log.warning("store_unavailable", problem=str(error))
            return
        for problem in problems:
            if not problem.refusal:
                self._log.warning("store_warning", problem=problem.sentence)
        refusals = [problem.sentence for problem in problems if problem.refusal]
        if refusals:
            raise SettingsError(refusals)

    async def run(self) -> None:
        """Look again for ever: what is unfit on a running server is an error in the log, each time anew."""
        while True:
            await asyncio.sleep(self._pause)
            try:
                problems = await self._look()
            except StoreUnavailable:
                continue  # said by those who need it
            except ServerError as error:
                self._log.error("store_unfit", problem=f"The server does not say what it is: {error}")
                continue
            for problem in problems:
                if problem.refusal:
                    self._log.error("store_unfit", problem=problem.sentence)

    async def _look(self) -> list[Problem]:
        problems = await check_server(self._server, self._topology, self._partitions)
        self._pause = _AGAIN_SECONDS
        return problems


def judge(facts: Facts, topology: Topology) -> list[Problem]:
    """Return what is wrong with one server; pure."""
    found = [*_version(facts), *_role(facts, topology), *_eviction(facts), *_buffers(facts)]
    if not topology.volatile:
        found += [*_persistence(facts), *_torn(facts)]
    return found


def _version(facts: Facts) -> list[Problem]:
    name, least = ("Valkey", LEAST_VALKEY) if "valkey_version" in facts.info else ("Redis", LEAST_REDIS)
    shown = facts.info.get("valkey_version") or facts.info.get("redis_version", "0")
    if _numbers(shown) >= least:
        return []
    needed = "Redis 7.0 or newer, or Valkey 8 or newer"
    return [Problem(f"The server is {name} {shown}: Tokenwire needs {needed}.", refusal=True)]


def _role(facts: Facts, topology: Topology) -> list[Problem]:
    found = []
    if topology.kind is not Kind.CLUSTER and facts.info.get("cluster_enabled") == "1":
        sentence = "REDIS_URL names a node of a Cluster: write redis+cluster://host:port,host:port instead."
        found.append(Problem(sentence, refusal=True))
    if topology.kind is Kind.ALONE and facts.info.get("role") == "slave":
        sentence = "REDIS_URL names a replica: name the primary, or Sentinels (redis+sentinel://)."
        found.append(Problem(sentence, refusal=True))
    least = facts.config.get("min-replicas-to-write", facts.config.get("min-slaves-to-write"))
    if topology.kind is Kind.SENTINEL and least == "0":
        found.append(
            Problem(
                "A primary that is cut off from its replicas still takes requests, which are lost when Sentinel "
                "names another one: set min-replicas-to-write 1 and min-replicas-max-lag 10."
            )
        )
    return found


def _eviction(facts: Facts) -> list[Problem]:
    policy = facts.info.get("maxmemory_policy") or facts.config.get("maxmemory-policy", "noeviction")
    if policy == "noeviction":
        return []
    sentence = (
        f"The server's maxmemory-policy is {policy}, which drops logs of running answers without a word: "
        "set maxmemory-policy noeviction."
    )
    return [Problem(sentence, refusal=True)]


def _buffers(facts: Facts) -> list[Problem]:
    words = facts.config.get("client-output-buffer-limit", "").split()
    if "pubsub" not in words:
        return []
    hard, soft, _ = map(int, words[words.index("pubsub") + 1 :][:3])
    if (hard == 0 or hard >= _PUBSUB_HARD) and (soft == 0 or soft >= _PUBSUB_SOFT):
        return []
    sentence = (
        f"The server cuts a subscriber that is {hard} bytes behind (or {soft} for a while), and with it all "
        f"viewers of one gateway: set client-output-buffer-limit pubsub {_PUBSUB_HARD} {_PUBSUB_SOFT} 60."
    )
    return [Problem(sentence)]


def _persistence(facts: Facts) -> list[Problem]:
    if facts.info.get("aof_enabled") == "1":
        return []
    if facts.config.get("save"):
        sentence = (
            "The server keeps snapshots only: what came after the last one is lost when it dies, and running "
            "answers are told to start anew. Set appendonly yes."
        )
    else:
        sentence = (
            "The server keeps nothing on disk, so all answers are lost when it dies: set appendonly yes."
        )
    return [Problem(sentence)]


def _torn(facts: Facts) -> list[Problem]:
    mended = _numbers(facts.info.get("valkey_version", "0")) >= _AOF_MENDED
    lately = facts.number("uptime_in_seconds") < _LATELY_SECONDS
    truncated = facts.config.get("aof-load-truncated", "yes") == "yes"
    if mended or not lately or not truncated or facts.info.get("aof_enabled") != "1":
        return []
    sentence = (
        "The server started a short while ago. If its log says that the AOF was truncated, it may bring back "
        "half a script at its next start: run BGREWRITEAOF on it now."
    )
    return [Problem(sentence)]


async def _facts(link: Link) -> Facts:
    info = text_of(await link.command("INFO"))
    lines = (line.partition(":") for line in info.splitlines() if not line.startswith("#"))
    return Facts({name: value.strip() for name, _, value in lines}, await _config(link))


async def _config(link: Link) -> Mapping[str, str]:
    config: dict[str, str] = {}
    for names in ("client-output-buffer-limit", "save", "aof-load-truncated", "min-replicas-to-write"):
        try:
            reply = await link.command("CONFIG", "GET", names)
        except ServerError:  # a hosted server may not allow it
            return config
        flat = [text_of(item) for item in (reply if isinstance(reply, list) else _flat(reply))]
        config |= dict(zip(flat[::2], flat[1::2], strict=True))
    return config


def _flat(reply: Mapping[object, object]) -> Sequence[object]:
    return [item for pair in reply.items() for item in pair]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
