"""What `tokenwire up` starts: pure functions from settings to command lines and environments."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tokenwire.settings import UpSettings

SMALL_MODEL = "SmolLM2-135M-Instruct"

STOP_SECONDS = 3.0
"""What workers and gateways get to hand over: both and the server fit into ten seconds, with room."""


class Role(StrEnum):
    """Kinds of processes."""

    SERVER = "valkey"
    WORKER = "worker"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Process:
    """One process to run."""

    name: str
    role: Role
    argv: tuple[str, ...]
    environ: Mapping[str, str]
    probe_port: int | None = None
    """Where it answers /readyz, if it does."""


def model_name(settings: UpSettings) -> str:
    """Return the name under which the model is served; empty if an upstream has the word."""
    if settings.model_name:
        return settings.model_name
    if settings.engine == "openai":
        return ""
    if settings.engine == "echo":
        return "echo"
    if settings.model is None:
        return SMALL_MODEL
    return Path(settings.model).name if is_folder(settings.model) else settings.model


def is_folder(model: str) -> bool:
    """Say whether MODEL means a folder, and not a hub id such as ``owner/name``."""
    return model.startswith((".", "/", "~")) or Path(model).is_dir()


def base_url(settings: UpSettings) -> str:
    """Return the address under which this machine reaches the gateways."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def workers(  # noqa: PLR0913 - each is another fact, and all are named at the call
    settings: UpSettings,
    environ: Mapping[str, str],
    *,
    redis_url: str,
    run: str,
    processors: int,
    ports: Sequence[int],
) -> list[Process]:
    """Return the workers, one for each probe port; ``run`` keeps their names apart from other runs'."""
    common = {
        **environ,
        "REDIS_URL": redis_url,
        "ENGINE": settings.engine,
        "MODEL_NAME": model_name(settings),
        "MODEL_CACHE": str(models(settings)),
        "THREADS": str(_threads(settings, processors)),
        "DRAIN_SECONDS": str(STOP_SECONDS - 0.5),
        "PROBE_HOST": "127.0.0.1",
    }
    return [
        _python(f"worker-{n}", Role.WORKER, common | {"WORKER_NAME": f"worker-{n}.{run}"}, port)
        for n, port in enumerate(ports, 1)
    ]


def gateways(
    settings: UpSettings,
    environ: Mapping[str, str],
    *,
    redis_url: str,
    page: Path | None,
    ports: Sequence[int],
) -> list[Process]:
    """Return the gateways, one for each probe port; with several the kernel spreads connections."""
    common = {
        **environ,
        "REDIS_URL": redis_url,
        "HOST": settings.host,
        "PORT": str(settings.port),
        "REUSE_PORT": str(int(settings.gateways > 1)),
        "DRAIN_SECONDS": str(STOP_SECONDS - 1.0),
        "PROBE_HOST": "127.0.0.1",
    }
    if page is not None:
        common["PAGE_DIR"] = str(page)
    return [_python(f"gateway-{n}", Role.GATEWAY, common, port) for n, port in enumerate(ports, 1)]


def takes_keys(environ: Mapping[str, str]) -> bool:
    """Say whether an API key lets a client in, be it because anything does."""
    return {"dev", "keys"} & _auth(environ) != set()


def with_key(environ: Mapping[str, str], key: str) -> Mapping[str, str]:
    """Return the environment in which gateways that ask for keys take this one too."""
    if "keys" not in _auth(environ):
        return environ
    others = environ.get("API_KEYS", "").strip()
    return {**environ, "API_KEYS": ",".join(filter(None, [others, f"tokenwire-up:{key}"]))}


def who_comes_in(environ: Mapping[str, str]) -> str:
    """Say in one line who may use what is started."""
    auth = _auth(environ)
    if "dev" not in auth:
        return f"asks every client for a credential ({', '.join(sorted(auth))})"
    reach = (
        "who reaches the port" if environ.get("DEV_OPEN", "").strip() not in ("", "0") else "on this machine"
    )
    return f"development mode: everybody {reach} comes in; AUTH=keys asks for API keys"


def _auth(environ: Mapping[str, str]) -> set[str]:
    return {part.strip() for part in (environ.get("AUTH", "").strip() or "dev").split(",")}


def _threads(settings: UpSettings, processors: int) -> int:
    """Share all processors but one, which gateways, server and browser need.

    Torch's threads wait for one another at every operation, so one that shares its processor slows all of
    them down, several times over.
    """
    return max(1, (processors - 1) // settings.workers) if settings.threads is None else settings.threads


def models(settings: UpSettings) -> Path:
    """Return the folder in which the small model is cached."""
    return settings.cache_dir.absolute() / "models"


def _python(name: str, role: Role, environ: Mapping[str, str], probe_port: int) -> Process:
    # -P: a folder called "worker" where the user stands must not be taken for ours.
    return Process(
        name=name,
        role=role,
        argv=(sys.executable, "-P", "-m", role.value),
        environ={**environ, "PROBE_PORT": str(probe_port)},
        probe_port=probe_port,
    )


def pause(deaths: Sequence[float], now: float) -> float:
    """Return the seconds to wait before a process is started again: more the oftener it died lately."""
    recent = sum(1 for at in deaths if now - at < 60)
    return float(min(30.0, 0.25 * 2 ** max(0, recent - 1)))


def last_words(log: str) -> str:
    """Find in the log of a dead process why it died: its last error line, or the last thing it wrote."""
    plain: list[str] = []
    for line in reversed(log.strip().splitlines()):
        entry = _entry(line)
        if entry is None:
            plain.insert(0, line.strip())
        elif plain:
            break
        elif entry.get("level") == "error":
            return str(entry.get("error") or entry.get("message") or entry.get("event"))
    if not plain:
        return "it said nothing"
    # Under a traceback the last line is the error; without one every line is a sentence to the user.
    return plain[-1] if any(line.startswith("Traceback") for line in plain) else " ".join(plain[-5:])


def _entry(line: str) -> dict[str, object] | None:
    """Return a line of a JSON log, or None if it is something else."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
