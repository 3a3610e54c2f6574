"""`tokenwire chat`: one answer, streamed to the terminal."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from urllib.error import URLError
from urllib.request import Request, urlopen

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from shared.lifecycle import run
from shared.settings import read
from tokenwire import client
from tokenwire.errors import FAILED, CommandError
from tokenwire.options import add_options, environ_with
from tokenwire.settings import ChatSettings


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("prompt", help="what to ask")
    add_options(parser, ChatSettings)


def command_chat(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Stream one answer; Ctrl-C stops it.  Raises SettingsError or CommandError."""
    settings = read(ChatSettings, environ_with(options, ChatSettings, environ))
    if not settings.url.startswith(("http://", "https://")):
        raise CommandError(f"{settings.url} is no address: it begins with http:// or https://.")
    return run(lambda stop: chat(settings, options.prompt, stop))


async def chat(settings: ChatSettings, prompt: str, stop: asyncio.Event) -> None:
    """Write the answer to stdout as it comes; ask for its end when ``stop`` is set.

    Raises CommandError if there is no answer.
    """
    try:
        model = settings.model
        if model is None:
            model = await asyncio.to_thread(_first_model, settings)
        async with client.dial(settings.url, settings.key) as connection:
            await client.ask(connection, model, prompt, settings.answer_tokens, settings.temperature)
            await _show(connection, stop)
    except InvalidStatus as error:
        raise CommandError(f"{settings.url} refused: {error}", FAILED) from None
    except ConnectionClosed as error:
        raise CommandError(f"The connection ended in mid-answer: {error}", FAILED) from None
    except (OSError, TimeoutError, InvalidHandshake) as error:
        raise CommandError(
            f"Nothing answers at {settings.url} ({error}): start `tokenwire up`, or name another with --tokenwire-url.",
            FAILED,
        ) from None


def _first_model(settings: ChatSettings) -> str:
    request = Request(  # noqa: S310 - the scheme was checked
        f"{settings.url.rstrip('/')}/v1/models", headers={"Authorization": f"Bearer {settings.key}"}
    )
    try:
        with urlopen(request, timeout=10) as answer:  # noqa: S310 - the scheme was checked
            models = json.load(answer)["data"]
    except URLError as error:
        raise OSError(error.reason) from None
    if not models:
        raise CommandError(f"No model is served at {settings.url} yet: try again in a moment.", FAILED)
    return str(models[0]["id"])


async def _show(connection: ClientConnection, stop: asyncio.Event) -> None:
    """Write deltas until the ending.  Raises CommandError if the ending is an error."""
    stopper: asyncio.Task[None] | None = None
    try:
        async for event in client.events(connection):
            if event["type"] == "response.created":
                stopper = asyncio.create_task(_cancel_on(stop, connection, event["response"]["id"]))
            elif event["type"] == "response.output_text.delta":
                sys.stdout.write(event["delta"])
                sys.stdout.flush()
            problem = client.problem_of(event)
            if problem is not None:
                raise CommandError(problem, FAILED)
    finally:
        sys.stdout.write("\n")
        if stopper is not None:
            stopper.cancel()


async def _cancel_on(stop: asyncio.Event, connection: ClientConnection, response_id: str) -> None:
    await stop.wait()
    await client.cancel(connection, response_id)
