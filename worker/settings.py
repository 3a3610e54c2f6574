"""The worker's settings."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.settings import setting
from shared.store.contract import Leases
from worker.engines.options import EchoOptions, TransformersOptions, UpstreamOptions
from worker.engines.registry import ENGINES

_LEAST_CONTEXT = 16
"""Tokens; the engine's check of itself at the start takes twelve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """One worker process."""

    redis_url: str = setting(
        "REDIS_URL",
        "redis://127.0.0.1:6379",
        "Where Redis or Valkey is: redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://.",
        secret=True,
    )
    partitions: int = setting(
        "PARTITIONS",
        1,
        "Hash tags over which responses are spread; equal in all processes.",
        minimum=1,
        maximum=4096,
    )
    engine: str = setting("ENGINE", "transformers", "What computes.", choices=ENGINES)
    model: str = setting("MODEL", "", "Folder or hub id of the model; empty is the small default model.")
    model_name: str = setting("MODEL_NAME", "", "Name under which the model is served; empty is its own.")
    model_cache: Path = setting(
        "MODEL_CACHE", Path(".cache/models"), "Where the small default model is made."
    )
    device: str = setting("DEVICE", "auto", "Torch device; auto takes a GPU if there is one.")
    dtype: str = setting(
        "DTYPE",
        "auto",
        "Precision; auto is float32 on a CPU and half precision on a GPU.",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    slots: int = setting("SLOTS", 8, "Responses computed at once.", minimum=1, maximum=4096)
    reserve_slots: int = setting(
        "RESERVE_SLOTS",
        -1,
        "Of them, slots that only hand-overs of other workers get; -1 is a quarter of SLOTS, 2 at most.",
        minimum=-1,
    )
    context_length: int = setting(
        "CONTEXT_LENGTH", 0, "Prompt and generated tokens together; 0 is all the model knows.", minimum=0
    )
    step_tokens: int = setting("STEP_TOKENS", 512, "Tokens computed in one step at most.", minimum=1)
    prefill_share: int = setting(
        "PREFILL_SHARE",
        64,
        "Of them, tokens of prompts while anybody decodes; twice that while twice as many wait as decode, and so on.",
        minimum=1,
    )
    threads: int = setting(
        "THREADS", 0, "Threads of torch on a CPU; 0 leaves torch's choice.", minimum=0, maximum=1024
    )
    upstream: str = setting(
        "UPSTREAM",
        "",
        "ENGINE=openai: base URLs of OpenAI-compatible servers of one model, with commas between them.",
    )
    upstream_key: str = setting(
        "UPSTREAM_KEY", "", "Bearer token for them; none is sent without it.", secret=True
    )
    upstream_model: str = setting(
        "UPSTREAM_MODEL", "", "Their name of the model; without it the only one that they serve."
    )
    upstream_slots: int = setting(
        "UPSTREAM_SLOTS",
        64,
        "Requests in flight at them at once; SLOTS is not used then.",
        minimum=1,
        maximum=4096,
    )
    upstream_resume: str = setting(
        "UPSTREAM_RESUME",
        "auto",
        "How an answer goes on after a worker was lost: continue behind the text, or replay and compare it.",
        choices=("auto", "continue", "replay"),
    )
    upstream_silence_seconds: float = setting(
        "UPSTREAM_SILENCE_SECONDS",
        60.0,
        "An upstream that says nothing for so long is given up.",
        minimum=0.1,
    )
    upstream_retry_seconds: float = setting(
        "UPSTREAM_RETRY_SECONDS",
        20.0,
        "How long a request is tried again while no token of it has come.",
        minimum=0,
    )
    name: str = setting("WORKER_NAME", "", "Name in logs and leases; empty is host and process id.")
    echo_rate: float = setting(
        "ECHO_RATE", 50.0, "Tokens per second of each echoed response; 0 is as fast as can be.", minimum=0
    )
    echo_prefill_seconds: float = setting(
        "ECHO_PREFILL_SECONDS", 0.0, "Time before an echoed response's first token.", minimum=0
    )
    echo_mark: bool = setting("ECHO_MARK", False, "Echoed tokens name response, position and owner.")
    echo_poison: bool = setting(
        "ECHO_POISON", False, "A prompt with #poison kills the worker. For the fault audit only."
    )
    lease_seconds: float = setting(
        "LEASE_SECONDS", 10.0, "A dead worker's responses are continued elsewhere after this.", minimum=0.5
    )
    attachment_seconds: float = setting(
        "ATTACHMENT_SECONDS", 25.0, "A viewer that is silent for longer has left.", minimum=1
    )
    retention_seconds: float = setting(
        "RETENTION_SECONDS", 600.0, "How long a log is kept after its ending.", minimum=1
    )
    log_bytes: int = setting("LOG_BYTES", 1 << 20, "Text of one response at most.", minimum=1024)
    drain_seconds: float = setting(
        "DRAIN_SECONDS", 5.0, "Time in which a stopping worker hands its responses over, at most.", minimum=0
    )
    step_timeout: float = setting(
        "STEP_TIMEOUT",
        60.0,
        "A step, or tokenising a prompt, that lasts longer is taken for hung.",
        minimum=1,
    )
    probe_host: str = setting("PROBE_HOST", "127.0.0.1", "Address of the internal port.")
    probe_port: int = setting(
        "PROBE_PORT",
        9102,
        "Internal port: /livez, /readyz, /metrics; 0 is any free one.",
        minimum=0,
        maximum=65535,
    )

    otlp: str = setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "",
        "Collector of traces, as http://collector:4318; needs tokenwire[otel]. No traces without it.",
    )

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise ValueError("\n".join(problems))

    def _problems(self) -> Iterator[str]:
        if self.reserve_slots >= self.slots:
            yield (
                f"RESERVE_SLOTS is {self.reserve_slots} of {self.slots} SLOTS, so no new request would ever "
                "be taken: set fewer, or -1 for a fitting number."
            )
        if self.engine == "transformers" and not self.slots <= self.prefill_share <= self.step_tokens:
            yield (
                f"SLOTS is {self.slots}, PREFILL_SHARE {self.prefill_share} and STEP_TOKENS {self.step_tokens}: "
                "none may be more than the next one."
            )
        if 0 < self.context_length < _LEAST_CONTEXT:
            yield (
                f"CONTEXT_LENGTH is {self.context_length}, in which no question fits with its answer: set at least "
                f"{_LEAST_CONTEXT}, or 0 for all the model knows."
            )
        if not (self.upstream_key.isascii() and self.upstream_key.isprintable()):
            yield "UPSTREAM_KEY has characters that cannot stand in a header: write it as it was given to you."

    def reserve(self, slots: int) -> int:
        """Return how many of an engine's slots are kept for hand-overs; few slots keep none."""
        return min(2, slots // 4) if self.reserve_slots < 0 else min(self.reserve_slots, slots - 1)

    @property
    def worker_name(self) -> str:
        """Name of this process in leases and logs."""
        return self.name or f"{socket.gethostname()}-{os.getpid()}"

    @property
    def leases(self) -> Leases:
        """Times of the store."""
        return Leases(
            lease=self.lease_seconds, attachment=self.attachment_seconds, retention=self.retention_seconds
        )

    @property
    def echo(self) -> EchoOptions:
        """What the echo engine is made from."""
        return EchoOptions(
            model=self.model_name or "echo",
            slots=self.slots,
            context_length=self.context_length or 8192,
            rate=self.echo_rate,
            prefill_seconds=self.echo_prefill_seconds,
            mark=self.echo_mark,
            poison=self.echo_poison,
        )

    def transformers(self, say: Callable[[str], None]) -> TransformersOptions:
        """Say what the transformers engine is made from; ``say`` gets a line per long step of its start."""
        return TransformersOptions(
            cache=self.model_cache,
            model=self.model,
            name=self.model_name,
            device=self.device,
            dtype=self.dtype,
            slots=self.slots,
            context_length=self.context_length,
            step_tokens=self.step_tokens,
            prefill_share=self.prefill_share,
            threads=self.threads,
            say=say,
        )

    @property
    def upstreams(self) -> UpstreamOptions:
        """What the openai engine is made from."""
        return UpstreamOptions(
            urls=self.upstream,
            key=self.upstream_key,
            model=self.upstream_model,
            name=self.model_name,
            slots=self.upstream_slots,
            context_length=self.context_length,
            resume=self.upstream_resume,
            silence_seconds=self.upstream_silence_seconds,
            retry_seconds=self.upstream_retry_seconds,
        )
