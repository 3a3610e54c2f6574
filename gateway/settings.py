"""Settings of a gateway: one frozen value, read from the environment once.

Longer than most files: it is the whole list, from which docs/settings.md is made, and what is derived from it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from gateway.create import Defaults
from gateway.session import Limits
from shared.quota import Quota
from shared.settings import setting
from shared.store.contract import Leases

_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_COUNTED = "; 0 is no bound, AUTH=dev counts nothing."
_ORIGIN = re.compile(r"https?://[^/?#\s*]+")

BUILT_PAGE = Path(__file__).resolve().parent.parent / "frontend" / "dist"
"""Where `make` builds the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """What a gateway can be told."""

    host: str = setting(
        "HOST", "127.0.0.1", "Address of the door; with AUTH=dev not loopback only with DEV_OPEN=1."
    )
    port: int = setting("PORT", 8080, "Port of the door; 0 takes a free one.", minimum=0, maximum=65535)
    reuse_port: bool = setting("REUSE_PORT", False, "Share the port with other gateways (SO_REUSEPORT).")
    probe_host: str = setting("PROBE_HOST", "127.0.0.1", "Address of /livez, /readyz and /metrics.")
    probe_port: int = setting(
        "PROBE_PORT", 0, "Port of the probes; 0 takes a free one.", minimum=0, maximum=65535
    )
    redis_url: str = setting(
        "REDIS_URL",
        "redis://127.0.0.1:6379",
        "Where Redis or Valkey is: redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://.",
        secret=True,
    )
    partitions: int = setting("PARTITIONS", 1, "Hash tags for new responses.", minimum=1, maximum=4096)

    auth: tuple[str, ...] = setting(
        "AUTH",
        ("dev",),
        "What lets a client in, any of the list: dev takes everybody and stands alone, keys are API keys, "
        "jwt are tokens of JWT_ISSUER.",
        choices=("dev", "keys", "jwt"),
    )
    dev_open: bool = setting(
        "DEV_OPEN", False, "With AUTH=dev: let everybody in who reaches the port, also from other machines."
    )
    api_keys: tuple[str, ...] = setting(
        "API_KEYS",
        (),
        "Keys besides those of `tokenwire keys`, each NAME:KEY or NAME:sha256:HEX, a KEY of 20 characters or more.",
        secret=True,
    )
    api_keys_file: Path | None = setting(
        "API_KEYS_FILE",
        None,
        "File of such keys, one a line; read again when it changes; who is not in it any more is cut at the next RECHECK_SECONDS.",
    )
    jwt_issuer: str = setting("JWT_ISSUER", "", "The `iss` that tokens must have.")
    jwt_audience: str = setting("JWT_AUDIENCE", "", "The `aud` that tokens must have.")
    jwt_jwks: str = setting("JWT_JWKS", "", "Where the issuer's public keys are: a file, or an https:// URL.")
    jwt_algorithms: tuple[str, ...] = setting(
        "JWT_ALGORITHMS",
        ("RS256", "ES256", "EdDSA"),
        "Algorithms that tokens may be signed with; only ones of public keys.",
        choices=_ALGORITHMS,
    )
    jwt_leeway_seconds: float = setting(
        "JWT_LEEWAY_SECONDS", 30.0, "How far the issuer's clock may differ.", minimum=0, maximum=300
    )
    origins: tuple[str, ...] = setting(
        "ORIGINS", (), "Origins of pages that may connect, besides the gateway's own; exact, with scheme."
    )
    trusted_proxies: tuple[str, ...] = setting(
        "TRUSTED_PROXIES",
        (),
        "Networks (CIDR) of the proxies in front, whose X-Forwarded-For and X-Forwarded-Proto are believed.",
    )
    https_only: bool = setting(
        "HTTPS_ONLY",
        False,
        "Serve only what a trusted proxy says came by https or wss, and tell browsers to stay there (HSTS).",
    )
    page_dir: Path = setting("PAGE_DIR", BUILT_PAGE, "Folder of the built page.")

    sockets_per_principal: int = setting(
        "SOCKETS_PER_PRINCIPAL", 64, f"Open sockets of a principal on all gateways{_COUNTED}", minimum=0
    )
    responses_per_principal: int = setting(
        "RESPONSES_PER_PRINCIPAL",
        32,
        f"Responses of a principal that run or wait at once{_COUNTED}",
        minimum=0,
    )
    messages_per_principal: int = setting(
        "MESSAGES_PER_PRINCIPAL", 600, f"Messages in a minute on a principal's sockets{_COUNTED}", minimum=0
    )
    requests_per_principal: int = setting(
        "REQUESTS_PER_PRINCIPAL", 300, f"Responses a principal may ask for in a minute{_COUNTED}", minimum=0
    )
    tokens_per_principal: int = setting(
        "TOKENS_PER_PRINCIPAL",
        0,
        f"Tokens of a principal in a minute, prompts and the most that may be answered{_COUNTED}",
        minimum=0,
    )
    sockets_per_address: int = setting(
        "SOCKETS_PER_ADDRESS", 256, f"Open sockets of a client address on all gateways{_COUNTED}", minimum=0
    )
    requests_per_address: int = setting(
        "REQUESTS_PER_ADDRESS", 0, f"Responses asked for in a minute from an address{_COUNTED}", minimum=0
    )
    failures_per_address: int = setting(
        "FAILURES_PER_ADDRESS",
        20,
        "Credentials from an address that may be wrong in a minute, at each gateway, before it has to wait.",
        minimum=1,
    )
    recheck_seconds: float = setting(
        "RECHECK_SECONDS",
        30.0,
        "How often the credentials of open sockets and streams are looked up again; a revocation is told at "
        "once, but what tells it may be lost.",
        minimum=1,
    )

    waiting_bound: int = setting("WAITING_BOUND", 64, "Requests of a model that may wait.", minimum=1)
    default_output_tokens: int = setting(
        "DEFAULT_OUTPUT_TOKENS", 1024, "max_output_tokens where none is asked.", minimum=1
    )
    max_output_tokens: int = setting("MAX_OUTPUT_TOKENS", 4096, "More than this is clamped to it.", minimum=1)
    keep_seconds: float = setting(
        "KEEP_SECONDS", 30.0, "How long a response goes on after its last viewer left a socket.", minimum=0
    )
    queue_seconds: float = setting("QUEUE_SECONDS", 60.0, "Longest wait for a worker.", minimum=1)
    response_seconds: float = setting("RESPONSE_SECONDS", 300.0, "Longest run of a response.", minimum=1)

    session_seconds: float = setting(
        "SESSION_SECONDS",
        300.0,
        "Age of a socket at which it is asked to connect anew, between turns.",
        minimum=1,
    )
    connection_seconds: float = setting(
        "CONNECTION_SECONDS", 3600.0, "Age at which a socket is cut in any case.", minimum=1
    )
    idle_seconds: float = setting("IDLE_SECONDS", 600.0, "Silence that closes a socket.", minimum=1)
    messages_per_minute: float = setting(
        "MESSAGES_PER_MINUTE", 100.0, "Client messages per socket.", minimum=1
    )
    active_per_socket: int = setting("ACTIVE_PER_SOCKET", 16, "Running responses per socket.", minimum=1)
    lanes_per_socket: int = setting("LANES_PER_SOCKET", 32, "Distinct stream_ids per socket.", minimum=1)
    max_sockets: int = setting("MAX_SOCKETS", 20_000, "Sockets of this gateway.", minimum=1)
    handshakes_per_second: float = setting(
        "HANDSHAKES_PER_SECOND",
        500.0,
        "New sockets a second; more than these are told when to come back (503), so that the open ones go on.",
        minimum=1,
    )
    routing_seconds: float = setting(
        "ROUTING_SECONDS",
        0.0,
        "How long a stopping gateway, already not ready, still takes connections, so that what routes to it "
        "follows; 5 behind a load balancer or a Kubernetes service.",
        minimum=0,
    )
    drain_seconds: float = setting(
        "DRAIN_SECONDS",
        5.0,
        "Time over which a stopping gateway spreads its clients' reconnects; answers that could not go on elsewhere "
        "(the older APIs' streams, waiting POSTs) have all of it.",
        minimum=0,
    )

    lease_seconds: float = setting("LEASE_SECONDS", 10.0, "A worker's lease.", minimum=0.1)
    attachment_seconds: float = setting("ATTACHMENT_SECONDS", 25.0, "A viewer's lease.", minimum=0.1)
    retention_seconds: float = setting(
        "RETENTION_SECONDS", 600.0, "How long a log is kept after its ending.", minimum=1
    )
    conversation_seconds: float = setting(
        "CONVERSATION_SECONDS",
        86_400.0,
        "How long a response that is stored can be gone on from with previous_response_id.",
        minimum=1,
    )

    goal_first_token: float = setting(
        "GOAL_FIRST_TOKEN", 2.0, "Seconds to its first token that a good answer takes at most.", minimum=0
    )
    goal_per_token: float = setting(
        "GOAL_PER_TOKEN",
        0.2,
        "Seconds per token after it that a good answer takes on average at most.",
        minimum=0,
    )
    otlp: str = setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "",
        "Collector of traces, as http://collector:4318; needs tokenwire[otel]. No traces without it.",
    )
    trace_ratio: float = setting(
        "TRACE_RATIO", 1.0, "Share of the traces begun here that are recorded.", minimum=0, maximum=1
    )

    def __post_init__(self) -> None:
        problems = [*self._problems_of_auth(), *self._problems_of_names()]
        if problems:
            raise ValueError("\n".join(problems))

    def _problems_of_auth(self) -> Iterator[str]:
        if self.dev and len(self.auth) > 1:
            yield f"AUTH is {','.join(self.auth)}, but dev takes everybody: leave dev away, or the others."
        if self.dev and (self.api_keys or self.api_keys_file or self.jwt_jwks):
            yield "Keys are given, but AUTH=dev asks nobody for one: set AUTH to keys, jwt or keys,jwt."
        if self.dev and not self.dev_open and not is_loopback(self.host):
            yield (
                f"HOST is {self.host}, but without keys the gateway listens on loopback only: set "
                "HOST=127.0.0.1, AUTH=keys, or DEV_OPEN=1 to let in everybody who reaches the port."
            )
        if "jwt" in self.auth and not (self.jwt_issuer and self.jwt_audience and self.jwt_jwks):
            yield "AUTH has jwt: set JWT_ISSUER, JWT_AUDIENCE and JWT_JWKS, all three."
        if not _is_safe(self.jwt_jwks):
            yield "JWT_JWKS is a file or fetched by https:// only: whoever answers in its place could let anybody in."

    def _problems_of_names(self) -> Iterator[str]:
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                yield f"ORIGINS has {origin!r}: write scheme, host and port only, as in https://chat.example."
        for network in self.trusted_proxies:
            try:
                ipaddress.ip_network(network)
            except ValueError:
                yield f"TRUSTED_PROXIES has {network!r}: write addresses or networks, as in 10.0.0.0/8."
        if self.https_only and not self.trusted_proxies:
            yield "HTTPS_ONLY needs TRUSTED_PROXIES: TLS ends in front of the gateway, and only a proxy knows."

    @property
    def dev(self) -> bool:
        """Whether this is development mode: nobody is asked for a credential."""
        return "dev" in self.auth

    @property
    def quota(self) -> Quota:
        """Return the bounds of a principal whose credential names no others."""
        return Quota(
            sockets=self.sockets_per_principal,
            responses=self.responses_per_principal,
            messages_per_minute=self.messages_per_principal,
            requests_per_minute=self.requests_per_principal,
            tokens_per_minute=self.tokens_per_principal,
        )

    @property
    def address_quota(self) -> Quota:
        """Return the bounds of a client address."""
        return Quota(sockets=self.sockets_per_address, requests_per_minute=self.requests_per_address)

    @property
    def leases(self) -> Leases:
        """Return the times of the store."""
        return Leases(
            lease=self.lease_seconds,
            attachment=self.attachment_seconds,
            retention=self.retention_seconds,
            conversation=self.conversation_seconds,
        )

    @property
    def refresh_seconds(self) -> float:
        """Return how often a viewer's lease is refreshed at least: one refresh may be lost."""
        return 0.4 * self.attachment_seconds

    @property
    def limits(self) -> Limits:
        """Return the bounds of a socket."""
        return Limits(
            session=self.session_seconds,
            connection=self.connection_seconds,
            idle=self.idle_seconds,
            messages_per_minute=self.messages_per_minute,
            active=self.active_per_socket,
            lanes=self.lanes_per_socket,
        )

    @property
    def defaults(self) -> Defaults:
        """Return what requests get where nothing was asked."""
        return Defaults(
            max_tokens=min(self.default_output_tokens, self.max_output_tokens),
            max_tokens_limit=self.max_output_tokens,
            keep=self.keep_seconds,
            queue_seconds=self.queue_seconds,
            run_seconds=self.response_seconds,
        )


def _is_safe(place: str) -> bool:
    """Say whether nobody else can put keys there: a file, or where TLS or this machine itself answers."""
    scheme, separator, _ = place.partition("://")
    here = scheme == "http" and is_loopback(urlsplit(place).hostname or "")
    return not separator or scheme == "https" or here


def is_loopback(host: str) -> bool:
    """Say whether a host name or address is this machine's own, by its spelling alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
