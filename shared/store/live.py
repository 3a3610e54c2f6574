"""The gateway's fast path: subscriptions by response id."""

from __future__ import annotations

from collections.abc import Callable

from shared.log import LiveMessage
from shared.store import keys
from shared.store.connect import listen
from shared.store.contract import OnLive


class LiveReader:
    """The gateway's Live: subscriptions by response id."""

    def __init__(self, url: str, on_live: OnLive, on_link: Callable[[], None]) -> None:
        self._on_live = on_live
        self._responses: dict[bytes, str] = {}
        self._reader = listen(url, self._message, on_link)

    def start(self) -> None:
        """Begin to connect."""
        self._reader.start()

    async def close(self) -> None:
        """End the connection."""
        await self._reader.close()

    async def subscribe(self, response_id: str) -> None:
        """Return once the server has confirmed the subscription."""
        channel = keys.channel(response_id).encode()
        self._responses[channel] = response_id
        await self._reader.subscribe(channel)

    def unsubscribe(self, response_id: str) -> None:
        """Stop listening."""
        channel = keys.channel(response_id).encode()
        self._responses.pop(channel, None)
        self._reader.unsubscribe(channel)

    @property
    def connected(self) -> bool:
        """Whether a link stands."""
        return self._reader.connected

    def _message(self, channel: bytes, data: bytes) -> None:
        response_id = self._responses.get(channel)
        if response_id is None:
            return
        try:
            message = LiveMessage.parse(data)
        except ValueError:
            return  # another version's: its number is missed as that of a lost one, and the log is read
        self._on_live(response_id, message)
