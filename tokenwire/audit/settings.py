"""The settings of `tokenwire audit`; each is an environment variable and an option of the same name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shared.settings import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """`tokenwire audit`."""

    suite: str = setting(
        "SUITE",
        "fleet",
        "What is struck: the fleet's processes and links, or the Redis servers (several kinds, three minutes).",
        choices=("fleet", "redis"),
    )
    engine: str = setting(
        "ENGINE",
        "echo",
        "What computes: the echo engine, whose every word is known, or a real model (ten answers, two kills).",
        choices=("echo", "transformers"),
    )
    seed: int = setting(
        "SEED", 1, "Seed of the schedule; the same one strikes alike.", minimum=0, maximum=2**63
    )
    minutes: float = setting("MINUTES", 2.0, "How long clients ask and strikes fall.", minimum=0.2)
    clients: int = setting("CLIENTS", 200, "Clients at once.", minimum=2, maximum=5000)
    gateways: int = setting("GATEWAYS", 2, "Gateways of the fleet.", minimum=2, maximum=16)
    workers: int = setting("WORKERS", 3, "Workers of the fleet.", minimum=2, maximum=16)
    slots: int = setting("SLOTS", 64, "Responses that a worker computes at once.", minimum=1)
    lease: float = setting("LEASE_SECONDS", 3.0, "Lease of the fleet's workers.", minimum=1)
    mark: bool = setting(
        "MARK",
        True,
        "Each token names its writer; without it answers have stop strings, and text is held back.",
    )
    faults: tuple[str, ...] = setting(
        "FAULTS", (), "Kinds of strikes to use, e.g. `kill worker`; all without it."
    )
    url: tuple[str, ...] = setting(
        "URL", (), "Gateways of a running deployment: only what clients do is tried there, nothing is killed."
    )
    gateway_root: Path | None = setting(
        "GATEWAY_ROOT", None, "Another checkout whose gateways are run: do two versions share a log?"
    )
    worker_root: Path | None = setting("WORKER_ROOT", None, "Another checkout whose workers are run.")
    key: str = setting("TOKENWIRE_KEY", "none", "Key to show to the gateways.", secret=True)
    json: Path | None = setting("JSON", None, "File for the report as JSON.")
    transcripts: Path | None = setting("TRANSCRIPTS", None, "Folder in which transcripts and logs are kept.")
