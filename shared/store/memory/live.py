"""Live in memory."""

from __future__ import annotations

from shared.store.contract import OnLive
from shared.store.memory.server import MemoryServer


class MemoryLive:
    """Live in memory: delivers within the call that writes."""

    def __init__(self, server: MemoryServer, on_live: OnLive) -> None:
        self._server = server
        self._on_live = on_live

    @property
    def connected(self) -> bool:
        """Say that a link stands."""
        return True

    async def subscribe(self, response_id: str) -> None:
        """Listen."""
        self._server.listeners.setdefault(response_id, []).append(self._on_live)

    def unsubscribe(self, response_id: str) -> None:
        """Stop listening."""
        listeners = self._server.listeners.get(response_id, [])
        if self._on_live in listeners:
            listeners.remove(self._on_live)
