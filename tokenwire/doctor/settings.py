"""Settings of `tokenwire doctor`."""

from __future__ import annotations

from dataclasses import dataclass

from shared.settings import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorSettings:
    """`tokenwire doctor`."""

    direct: str | None = setting("DIRECT", None, "Address of a gateway itself, to compare with the way.")
    key: str = setting("TOKENWIRE_KEY", "none", "Key to show to the gateway.", secret=True)
    model: str | None = setting("MODEL_NAME", None, "Model to ask; the first one served without it.")
    answer_tokens: int = setting(
        "ANSWER_TOKENS", 48, "Length of the answers asked for, in tokens.", minimum=1
    )
    idle_seconds: float = setting("IDLE_SECONDS", 30.0, "Silence that a socket should survive.", minimum=0)
    redis_url: str | None = setting(
        "REDIS_URL", None, "The store of the gateways, to be examined too.", secret=True
    )
    partitions: int = setting("PARTITIONS", 1, "As in all processes.", minimum=1, maximum=4096)
