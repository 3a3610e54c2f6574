"""A small client of the socket: one response at a time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect

Event = dict[str, Any]

ENDINGS = frozenset({"response.completed", "response.incomplete", "response.failed"})


def dial(url: str, key: str) -> connect:
    """Return a connection to the gateway at ``url`` (http or https), to be used with ``async with``.

    Raises OSError, TimeoutError or websockets' InvalidHandshake when it is entered.
    """
    parts = urlsplit(url)
    address = parts._replace(
        scheme={"http": "ws", "https": "wss"}[parts.scheme], path=f"{parts.path.rstrip('/')}/v1/responses"
    ).geturl()
    local = parts.hostname in {"127.0.0.1", "::1", "localhost"}
    return connect(
        address,
        additional_headers={"Authorization": f"Bearer {key}"},
        compression=None,
        max_size=None,
        proxy=None if local else True,
    )


async def ask(
    connection: ClientConnection, model: str, prompt: str, max_output_tokens: int, temperature: float = 1.0
) -> None:
    """Ask for a response."""
    await connection.send(
        json.dumps(
            {
                "type": "response.create",
                "model": model,
                "input": prompt,
                "max_output_tokens": max_output_tokens,
                "temperature": temperature,
            }
        )
    )


async def cancel(connection: ClientConnection, response_id: str) -> None:
    """Stop a response; its ending follows as an event."""
    await connection.send(json.dumps({"type": "response.cancel", "response_id": response_id}))


async def events(connection: ClientConnection) -> AsyncIterator[Event]:
    """Yield events up to and including the ending of a response, or an error.

    Raises websockets' ConnectionClosed if the connection ends before.
    """
    while True:
        event = json.loads(await connection.recv())
        yield event
        if event["type"] in ENDINGS or event["type"] == "error":
            return


def problem_of(event: Event) -> str | None:
    """Return the sentence of an error or of a failed response, or None."""
    match event:
        case {"type": "error", "error": {"message": str(message)}}:
            return message
        case {"type": "response.failed", "response": {"error": {"message": str(message)}}}:
            return message
    return None
