"""What must hold of the compose files and Dockerfiles, as functions that return complaints; none touches a file.

A compose file is given as `docker compose config` renders it: defaults filled in, files merged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.connection import CLOSE_SECONDS
from gateway.session import TELL_SECONDS
from gateway.settings import GatewaySettings
from shared.settings import settings_of
from worker.settings import WorkerSettings

Config = Mapping[str, Any]

SETTINGS = {"gateway": GatewaySettings, "worker": WorkerSettings}

# A default that fits a developer's machine is of no use in a container.
NEEDED = {
    "gateway": {"HOST", "PORT", "PROBE_HOST", "PROBE_PORT", "PAGE_DIR", "REDIS_URL", "TRUSTED_PROXIES"},
    "worker": {"PROBE_HOST", "PROBE_PORT", "MODEL_CACHE", "REDIS_URL", "ENGINE"},
}
OF_OTHERS = {
    *("PATH", "HOME", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"),
    *("HF_HOME", "HF_HUB_OFFLINE", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"),
}
"""Variables of an image that other programs than ours read."""

LINKS = [
    ("nginx", "gateway", True),
    ("gateway", "redis", True),
    ("worker", "redis", True),
    ("prometheus", "gateway", True),
    ("prometheus", "worker", True),
    ("grafana", "prometheus", True),
    ("nginx", "redis", False),
    ("nginx", "worker", False),
    ("prometheus", "redis", False),
]
"""Who must reach whom, and who must not."""


@dataclass(frozen=True)
class Dockerfile:
    """A Dockerfile's instructions, one string each, its lines joined."""

    text: str

    @property
    def instructions(self) -> list[tuple[str, str]]:
        lines = (
            line for line in self.text.splitlines() if line.strip() and not line.lstrip().startswith("#")
        )
        joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
        pairs = (line.partition(" ") for line in joined.splitlines())
        return [(name.upper(), rest.strip()) for name, _, rest in pairs]

    @property
    def last_stage(self) -> list[tuple[str, str]]:
        starts = [n for n, (name, _) in enumerate(self.instructions) if name == "FROM"]
        return self.instructions[starts[-1] :]

    def last(self, name: str) -> str | None:
        found = [rest for each, rest in self.last_stage if each == name]
        return found[-1] if found else None

    @property
    def environment(self) -> dict[str, str]:
        pairs = " ".join(rest for name, rest in self.last_stage if name == "ENV").split()
        return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}

    @property
    def arguments(self) -> dict[str, str]:
        found = (rest.partition("=") for name, rest in self.instructions if name == "ARG")
        return {name: value.strip('"') for name, _, value in found}

    @property
    def health(self) -> list[str]:
        """The command of the health check."""
        return json.loads((self.last("HEALTHCHECK") or "CMD []").partition("CMD ")[2])


def of_dockerfile(file: Dockerfile) -> Iterator[str]:
    """Complain about an image."""
    if re.search(r"^#\s*syntax=", file.text, re.MULTILINE):
        yield "a syntax line makes the builder fetch another image first"
    for name, value in file.arguments.items():
        if name.endswith("_IMAGE") and not _is_pinned(value):
            yield f"{name} is {value}, which names no version"
    stages = {rest.split(" AS ")[1] for name, rest in file.instructions if name == "FROM" and " AS " in rest}
    for name, rest in file.instructions:
        base = rest.split(" AS ")[0]
        if name == "FROM" and not re.fullmatch(r"\$\{\w+_IMAGE\}", base) and base not in stages:
            yield f"FROM {base}: name it by an argument"
    if not re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", file.last("USER") or ""):
        yield "USER must be a number (Kubernetes can tell that it is not root), of nobody on the host"
    for name in ("CMD", "HEALTHCHECK"):
        said = file.last(name) or ""
        if not said.partition("CMD ")[2].startswith("[") and not said.startswith("["):
            yield f"{name} must be there, as a JSON list: a shell would keep SIGTERM to itself"


def of_config(config: Config, files: Mapping[str, Dockerfile], there: Collection[str]) -> list[str]:
    """Complain about a set of compose files; ``there`` are the paths that exist."""
    services = config["services"]
    return [
        *(f"{name}: {what}" for name, service in services.items() for what in _hardening(service)),
        *(f"{name}: {what}" for name, service in services.items() for what in _mounts(service, there)),
        *(f"{name}: {what}" for name in SETTINGS for what in _variables(name, services[name], files[name])),
        *(f"{name}: {what}" for name in SETTINGS for what in _grace(name, services[name])),
        *_links(services),
        *_ports(services, files),
    ]


def _hardening(service: Config) -> Iterator[str]:
    built = "build" in service
    if not service.get("read_only"):
        yield "its root file system can be written"
    if service.get("cap_drop") != ["ALL"]:
        yield "it keeps capabilities"
    if "no-new-privileges:true" not in service.get("security_opt", []):
        yield "it may gain privileges"
    if not built and str(service.get("user", "0")).startswith(("0", "root")):
        yield "it runs as root"
    if not built and "healthcheck" not in service:
        yield "nobody sees whether it is healthy"
    if not built and not _is_pinned(service["image"]):
        yield f"{service['image']} names no version"
    if service.get("restart") != "unless-stopped":
        yield "it does not come back after a crash"


def _is_pinned(image: str) -> bool:
    return bool(re.search(r":[a-z.-]*\d+\.\d+|:\d+(-|$)", image))


def _mounts(service: Config, there: Collection[str]) -> Iterator[str]:
    for volume in service.get("volumes", []):
        if volume["type"] == "bind" and volume["source"] not in there:
            yield f"there is no {volume['source']} to mount"
        if volume["type"] == "bind" and not volume.get("read_only"):
            yield f"{volume['target']} can be written"


def _variables(name: str, service: Config, file: Dockerfile) -> Iterator[str]:
    known = {each.env for _, _, each, _ in settings_of(SETTINGS[name])}
    given = set(service["environment"])
    for each in sorted(given - known):
        yield f"there is no setting {each}"
    for each in sorted(set(file.environment) - known - OF_OTHERS):
        yield f"its image sets {each}, which nobody reads"
    for each in sorted(NEEDED[name] - given - set(file.environment)):
        yield f"{each} is set nowhere"


def _grace(name: str, service: Config) -> Iterator[str]:
    def setting(variable: str) -> float:
        default = next(d for _, _, each, d in settings_of(SETTINGS[name]) if each.env == variable)
        return float(service["environment"].get(variable) or default)

    least = setting("DRAIN_SECONDS")
    if name == "gateway":
        least += setting("ROUTING_SECONDS") + 2 * TELL_SECONDS + CLOSE_SECONDS + 1
    else:
        least += 5  # the engine's last step, and the end of what is open
    grace = seconds(service.get("stop_grace_period", "10s"))
    if grace <= least:
        yield f"it is killed after {grace:g} s, but may need {least:g} to stop"


def seconds(duration: str) -> float:
    """Read a duration as compose writes it."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|ms|m|s)", duration)
    return sum(float(number) * {"h": 3600, "m": 60, "s": 1, "ms": 0.001}[unit] for number, unit in parts)


def _links(services: Config) -> Iterator[str]:
    for one, other, wanted in LINKS:
        shared = set(services[one]["networks"]) & set(services[other]["networks"])
        if bool(shared) != wanted:
            yield f"{one} {'does not reach' if wanted else 'reaches'} {other}"


def _ports(services: Config, files: Mapping[str, Dockerfile]) -> Iterator[str]:
    for name, service in services.items():
        for port in service.get("ports", []):
            if port.get("host_ip") != "127.0.0.1":
                yield f"{name}: port {port['target']} is open to other machines by default"
    port = files["gateway"].environment["PORT"]
    if services["nginx"]["environment"]["GATEWAYS"] != f"gateway:{port}":
        yield f"nginx: GATEWAYS must be gateway:{port}, where the image listens"


def of_scraping(prometheus: Config, files: Mapping[str, Dockerfile]) -> Iterator[str]:
    """Complain about what Prometheus looks at."""
    for tier, file in files.items():
        found = [
            (sd["names"], sd["port"])
            for job in prometheus["scrape_configs"]
            if job["job_name"] == tier
            for sd in job["dns_sd_configs"]
        ]
        if found != [([tier], int(file.environment["PROBE_PORT"]))]:
            yield f"{tier} is not scraped at its port {file.environment['PROBE_PORT']}: {found}"


def variables_of(text: str) -> dict[str, str]:
    """Return the variables that a compose file takes from its environment, with their defaults."""
    return dict(re.findall(r"\$\{(\w+):?[-?]([^}]*)\}", text))


def lines_of(text: str) -> dict[str, str]:
    """Return what an .env file sets."""
    pairs = (line.partition("=") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}
