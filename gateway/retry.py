"""Asking the store again while it is out of reach for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.errors import Code, WireError
from shared.store.contract import StoreUnavailable

T = TypeVar("T")

_REPEATS = (0.05, 0.2, 0.5, 1.0)
"""Seconds between tries of a verb; repeating with the same arguments does nothing twice."""


async def repeated(ask: Callable[[], Awaitable[T]]) -> T | WireError:
    """Ask until the store answers, for about two seconds."""
    for pause in _REPEATS:
        try:
            return await ask()
        except StoreUnavailable:
            await asyncio.sleep(pause)
    try:
        return await ask()
    except StoreUnavailable:
        return WireError(Code.BACKEND_UNAVAILABLE, retry_after=2)
