"""One response on one socket, for callers that want no second try; see ``stream`` for one that comes back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from websockets.asyncio.client import ClientConnection, connect

from tokenwire.client.wire import ENDINGS, Event, is_local, socket_url


def dial(url: str, key: str) -> connect:
    """Return a connection to the gateway at ``url`` (http or https), to be used with ``async with``.

    Raises OSError, TimeoutError or websockets' InvalidHandshake when it is entered.
    """
    return connect(
        socket_url(url),
        additional_headers={"Authorization": f"Bearer {key}"},
        compression=None,
        max_size=None,
        proxy=None if is_local(url) else True,
    )


async def ask(
    connection: ClientConnection,
    model: str | None,
    prompt: str,
    max_output_tokens: int,
    temperature: float = 1.0,
) -> None:
    """Ask for a response; without a model it is the only one served."""
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
