"""`tokenwire chat`: one answer, streamed to the terminal."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from http import HTTPStatus
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from shared.background import background
from shared.lifecycle import run
from shared.settings import read
from tokenwire.client import Stream, StreamError, Unreachable, stream
from tokenwire.client.wire import headers
from tokenwire.errors import FAILED, CommandError
from tokenwire.options import add_options, environ_with
from tokenwire.settings import ChatSettings

_PATIENCE = 60.0
"""Seconds for which a broken connection is tried again."""


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


async def chat(settings: ChatSettings, prompt: str, stop: asyncio.Event, patience: float = _PATIENCE) -> None:
    """Write the answer to stdout as it comes; ask for its end when ``stop`` is set.

    A connection that breaks is replaced, for ``patience`` seconds in a row at most.  Raises CommandError if
    there is no answer.
    """
    try:
        shown = headers(settings.key)
    except ValueError as error:
        raise CommandError(str(error)) from None
    try:
        model = settings.model or await asyncio.to_thread(_first_model, settings, shown)
    except OSError as error:
        raise CommandError(_nothing_answers(settings, str(error)), FAILED) from None
    answer = stream(
        prompt,
        base_url=settings.url,
        api_key=settings.key,
        model=model,
        patience=patience,
        max_output_tokens=settings.answer_tokens,
        temperature=settings.temperature,
    )
    try:
        await _show(answer, stop)
    except Unreachable as error:
        raise CommandError(_nothing_answers(settings, str(error)), FAILED) from None
    except StreamError as error:
        raise CommandError(str(error), FAILED) from None


def _nothing_answers(settings: ChatSettings, why: str) -> str:
    return (
        f"Nothing answers at {settings.url} ({why}): start `tokenwire up`, "
        "or name another with --tokenwire-url."
    )


def _first_model(settings: ChatSettings, shown: Mapping[str, str]) -> str:
    request = Request(  # noqa: S310 - the scheme was checked
        f"{settings.url.rstrip('/')}/v1/models", headers=dict(shown)
    )
    try:
        with urlopen(request, timeout=10) as answer:  # noqa: S310 - the scheme was checked
            models = json.load(answer)["data"]
    except HTTPError as error:
        advice = ": give a key with --tokenwire-key" if error.code == HTTPStatus.UNAUTHORIZED else ""
        refusal = f"{settings.url} refused: {error.code} {error.reason}{advice}."
        raise CommandError(refusal, FAILED) from None
    except URLError as error:
        raise OSError(error.reason) from None
    if not models:
        raise CommandError(f"No model is served at {settings.url} yet: try again in a moment.", FAILED)
    return str(models[0]["id"])


async def _show(answer: Stream, stop: asyncio.Event) -> None:
    """Write pieces until the ending.  Raises StreamError."""
    stopper = background(_cancel_on(stop, answer), "stop")
    try:
        async for piece in answer:
            sys.stdout.write(piece)
            sys.stdout.flush()
    finally:
        sys.stdout.write("\n")
        stopper.cancel()


async def _cancel_on(stop: asyncio.Event, answer: Stream) -> None:
    await stop.wait()
    answer.cancel()
