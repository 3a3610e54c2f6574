"""How much one principal may use, over all gateways."""

from __future__ import annotations

import msgspec


class Quota(msgspec.Struct, frozen=True, omit_defaults=True):
    """Bounds of one principal; 0 is no bound."""

    sockets: int = 0
    """Open WebSockets."""
    responses: int = 0
    """Responses that run or wait."""
    messages_per_minute: int = 0
    """Messages on all its sockets."""
    requests_per_minute: int = 0
    """Responses asked for."""
    tokens_per_minute: int = 0
    """Prompt and generated tokens; what a request may generate at most is taken in advance."""


UNBOUNDED = Quota()
