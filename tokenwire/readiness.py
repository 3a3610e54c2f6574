"""Finding out whether the processes can do their work: each one's own word, and then a real token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from websockets.exceptions import ConnectionClosed, InvalidHandshake

from shared.store.place import Options, parse
from tokenwire.client import plain as client
from tokenwire.errors import FAILED, CommandError
from tokenwire.plan import Process

Say = Callable[[str], None]

_SILENCE = 5.0
"""Seconds after which a user who waits is told for what."""

_PASSING = frozenset({429, 503})
"""Status of an error that passes by itself: no worker yet, still starting."""


class _Patience:
    """Tells the user now and then what is waited for."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._told = time.monotonic()

    async def wait(self, what: str) -> None:
        if time.monotonic() - self._told > _SILENCE:
            self._told = time.monotonic()
            self._say(f"waiting for {what}")
        await asyncio.sleep(0.05)


async def named_server_listens(url: str) -> None:
    """Find out early whether anything listens at REDIS_URL.  Raises CommandError, or SettingsError if it is none."""
    hosts = parse(url).hosts
    if not any(await asyncio.gather(*map(_listens, hosts))):
        places = ", ".join(map(_place, hosts))  # never the URL: it may hold a password
        raise CommandError(
            f"Nothing listens at REDIS_URL ({places}): start a Redis there, or leave REDIS_URL unset to have one."
        )


def _place(options: Options) -> str:
    return str(options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}")


async def _listens(options: Options) -> bool:
    try:
        async with asyncio.timeout(5):
            if "path" in options:
                _, writer = await asyncio.open_unix_connection(options["path"])
            else:
                _, writer = await asyncio.open_connection(
                    options.get("host", "localhost"), options.get("port", 6379)
                )
            writer.close()
            await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
    return True


async def answers_ready(process: Process, say: Say) -> None:
    """Wait until a process says on its probe port that it is ready."""
    patience = _Patience(say)
    while process.probe_port is not None:
        status, sentence = await _probe(process.probe_port)
        if status == 200:
            return
        await patience.wait(f"{process.name}: {sentence}")


async def _probe(port: int) -> tuple[int, str]:
    """Ask /readyz; a process that does not listen yet has status 0."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
            answer = (await reader.read()).decode()
        finally:
            writer.close()
            await writer.wait_closed()
    except OSError:
        return 0, "it does not answer yet"
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split(" ", 2)[1]), body.strip()


async def first_token(url: str, model: str | None, say: Say, key: str = "none") -> None:
    """Return when the model, or the only one if it is None, has made a token that came out of the door.

    Raises CommandError if it cannot.
    """
    patience = _Patience(say)
    while True:
        try:
            problem = await _try_token(url, model, key)
        except (OSError, TimeoutError, InvalidHandshake, ConnectionClosed) as error:
            problem = str(error)
        if problem is None:
            return
        await patience.wait(f"the first token: {problem}")


async def _try_token(url: str, model: str | None, key: str) -> str | None:
    """Ask for a few tokens; return None once one has come, or what will pass by itself."""
    async with client.dial(url, key=key) as connection:
        await client.ask(connection, model, "Hi", max_output_tokens=16)
        async for event in client.events(connection):
            problem = client.problem_of(event)
            if problem is not None and event.get("status") in _PASSING:
                return problem
            if problem is not None:
                raise CommandError(f"The first answer failed: {problem}", FAILED)
            if event["type"] == "response.output_text.delta":
                return None
    return None  # an answer without text is an answer too
