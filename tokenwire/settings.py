"""The settings of the commands; each is an environment variable and an option of the same name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shared.settings import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class UpSettings:
    """`tokenwire up`.  Settings of workers and gateways that are not named here are passed on to them."""

    host: str = setting("HOST", "127.0.0.1", "Address to listen on.")
    port: int = setting("PORT", 8080, "Port of sockets, HTTP and the page.", minimum=1, maximum=65535)
    workers: int = setting("WORKERS", 1, "Worker processes.", minimum=1, maximum=64)
    gateways: int = setting("GATEWAYS", 1, "Gateway processes, all on one port.", minimum=1, maximum=64)
    engine: str = setting(
        "ENGINE", "transformers", "What computes.", choices=("transformers", "openai", "echo")
    )
    upstream: str | None = setting(
        "UPSTREAM",
        None,
        "ENGINE=openai: base URLs of OpenAI-compatible servers of one model, with commas between them.",
    )
    upstream_model: str | None = setting(
        "UPSTREAM_MODEL", None, "Their name of the model; without it the only one that they serve."
    )
    model: str | None = setting(
        "MODEL", None, "Folder or hub id of the model; SmolLM2-135M-Instruct without it."
    )
    model_name: str | None = setting("MODEL_NAME", None, "Name under which the model is served.")
    slots: int | None = setting("SLOTS", None, "Responses that a worker computes at once.", minimum=1)
    threads: int | None = setting(
        "THREADS",
        None,
        "Threads of a worker; all processors but one, divided by WORKERS, without it.",
        minimum=0,
    )
    echo_rate: float | None = setting(
        "ECHO_RATE", None, "Tokens per second of each echoed response; 0 is as fast as can be.", minimum=0
    )
    redis_url: str | None = setting(
        "REDIS_URL", None, "Redis or Valkey to use; without it one is started.", secret=True
    )
    page_dir: Path | None = setting("PAGE_DIR", None, "Folder of the built page.")
    cache_dir: Path = setting("CACHE_DIR", Path(".cache"), "Folder of the converted model and of logs.")
    verbose: bool = setting("VERBOSE", False, "Show the processes' logs here instead of in files.")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysSettings:
    """`tokenwire keys`."""

    redis_url: str = setting(
        "REDIS_URL", "redis://127.0.0.1:6379", "The store of the gateways, as they know it.", secret=True
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageSettings:
    """`tokenwire usage`."""

    redis_url: str = setting(
        "REDIS_URL", "redis://127.0.0.1:6379", "The store of the gateways, as they know it.", secret=True
    )
    partitions: int = setting(
        "PARTITIONS", 1, "The most partitions there were in the days asked for.", minimum=1, maximum=4096
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OversightSettings:
    """`tokenwire top`, `ps`, `stop` and `tail`."""

    redis_url: str = setting(
        "REDIS_URL", "redis://127.0.0.1:6379", "The store of the gateways, as they know it.", secret=True
    )
    partitions: int = setting(
        "PARTITIONS", 1, "Hash tags of responses; as in all processes.", minimum=1, maximum=4096
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSettings:
    """`tokenwire chat`."""

    url: str = setting("TOKENWIRE_URL", "http://127.0.0.1:8080", "Where a gateway listens.")
    key: str = setting("TOKENWIRE_KEY", "none", "Key to show to the gateway.", secret=True)
    model: str | None = setting("MODEL_NAME", None, "Model to ask; the first one served without it.")
    temperature: float = setting(
        "TEMPERATURE", 0.3, "0 takes the likeliest token; a small model rambles at 1.", minimum=0, maximum=2
    )
    answer_tokens: int = setting("ANSWER_TOKENS", 512, "Longest answer, in tokens.", minimum=1)
