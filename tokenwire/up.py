"""`tokenwire up`: the whole of Tokenwire in the foreground, on this machine, without Docker."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

from shared.lifecycle import run
from shared.settings import read
from tokenwire import plan
from tokenwire.errors import CommandError
from tokenwire.model import prepare_small_model
from tokenwire.options import add_options, environ_with
from tokenwire.plan import Process, Role
from tokenwire.processes import Fleet
from tokenwire.readiness import Say, answers_ready, first_token, named_server_listens
from tokenwire.settings import UpSettings
from tokenwire.valkey import answers, command, find_program

# Workers hand over while gateways still show it and the server still takes it.  With what the processes
# need to end, the whole stays under ten seconds.
_ORDER = ((Role.WORKER, plan.STOP_SECONDS), (Role.GATEWAY, plan.STOP_SECONDS), (Role.SERVER, 1.5))

_KEPT_LOGS = 10
"""Folders of logs kept from earlier runs."""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_options(parser, UpSettings)


def command_up(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Run everything until a signal; return the exit code.  Raises SettingsError or CommandError."""
    whole = environ_with(options, UpSettings, environ)
    settings = read(UpSettings, whole)
    check(settings)
    return run(lambda stop: up(settings, whole, stop, say))


def say(line: str) -> None:
    """Show a line to the user at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def check(settings: UpSettings) -> None:
    """Find out early what a user has to change.  Raises CommandError."""
    if settings.engine == "transformers" and settings.model and plan.is_folder(settings.model):
        folder = Path(settings.model).expanduser()
        if not (folder / "config.json").is_file():
            raise CommandError(
                f"There is no model in {folder} (no config.json): set MODEL to a model's folder."
            )
    if settings.engine == "openai" and not settings.upstream:
        raise CommandError(
            "ENGINE=openai needs to know whom to ask: set UPSTREAM, as in UPSTREAM=http://127.0.0.1:8000/v1."
        )
    try:
        family, *_, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # passes over connections that linger
            probe.bind(address)
    except OSError as error:
        raise CommandError(_cannot_listen(settings, error)) from None


def _cannot_listen(settings: UpSettings, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return f"Port {settings.port} is reserved for root: choose one above 1023, as in PORT=8080."
    if isinstance(error, socket.gaierror) or "assign" in str(error):
        return f"{settings.host} is no address of this machine: set HOST to one, as in HOST=127.0.0.1."
    other = settings.port + 1
    return f"Port {settings.port} is taken: stop what listens there, or choose another, as in PORT={other}."


async def _nothing(_: Fleet) -> None:
    """Do nothing beside the fleet, until cancelled."""
    await asyncio.get_running_loop().create_future()


async def up(
    settings: UpSettings,
    environ: Mapping[str, str],
    stop: asyncio.Event,
    say: Say,
    beside: Callable[[Fleet], Awaitable[None]] = _nothing,
) -> None:
    """Start everything, say when the first token was made, and go on until ``stop``, with ``beside`` next to it.

    Raises CommandError if it cannot be started.
    """
    logs = None if settings.verbose else _log_folder(settings)
    fleet = Fleet(logs, say)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tokenwire-")))
        stack.push_async_callback(fleet.stop, _ORDER)
        await _first_of(_boot(settings, environ, fleet, folder, say), stop.wait(), fleet.broken())
        if not stop.is_set():
            fleet.settle()
            if logs is not None:
                say(f"logs in {logs}")
            say(f"ready {plan.base_url(settings)}")
            await _first_of(stop.wait(), fleet.broken(), beside(fleet))
        say("stopping")


async def _first_of(*things: Awaitable[object]) -> None:
    """Wait until one is done, cancel the others, and raise what the first one raised."""
    tasks = [asyncio.ensure_future(thing) for thing in things]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _boot(
    settings: UpSettings, environ: Mapping[str, str], fleet: Fleet, folder: Path, say: Say
) -> None:
    """Start the processes in order, and return when a token has come through all of them."""
    if settings.engine == "transformers" and settings.model is None:
        await prepare_small_model(plan.models(settings), environ, say)
    if settings.redis_url is not None:
        await named_server_listens(settings.redis_url)
    redis_url = settings.redis_url or await _start_server(fleet, folder, environ, say)
    ports = free_ports(settings.workers + settings.gateways)
    key = secrets.token_urlsafe(32)
    processes = plan.gateways(
        settings,
        plan.with_key(environ, key),
        redis_url=redis_url,
        page=_page(settings),
        ports=ports[settings.workers :],
    ) + plan.workers(
        settings,
        environ,
        redis_url=redis_url,
        run=secrets.token_hex(2),
        processors=os.cpu_count() or 1,
        ports=ports[: settings.workers],
    )
    for process in processes:
        await fleet.start(process)
    await asyncio.gather(*(answers_ready(process, say) for process in processes))
    say(plan.who_comes_in(environ))
    if plan.takes_keys(environ):
        await first_token(plan.base_url(settings), plan.model_name(settings) or None, say, key)


async def _start_server(fleet: Fleet, folder: Path, environ: Mapping[str, str], say: Say) -> str:
    socket_path = folder / "valkey.sock"
    await fleet.start(Process("valkey", Role.SERVER, tuple(command(find_program(), socket_path)), environ))
    while not await asyncio.to_thread(answers, socket_path):  # noqa: ASYNC110 - it gives no sign of its own
        await asyncio.sleep(0.02)
    say(f"look inside: tokenwire top --redis-url unix://{socket_path} (ps, stop, tail, keys and usage alike)")
    return f"unix://{socket_path}?volatile=1"  # it is meant to keep nothing


def _page(settings: UpSettings) -> Path | None:
    """Return the folder of the built page: the one named, or the one of this checkout."""
    if settings.page_dir is not None:
        return settings.page_dir
    built = Path(__file__).parent.parent / "frontend" / "dist"
    return built if (built / "index.html").is_file() else None


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that were free a moment ago, all different."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _log_folder(settings: UpSettings) -> Path:
    """Make a folder for this run's logs, and remove those of runs long ago.  Raises CommandError."""
    runs = settings.cache_dir.absolute() / "run"
    try:
        runs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(
            f"{runs} cannot be made ({error.strerror}): set CACHE_DIR to a folder of yours."
        ) from None
    for old in sorted(runs.iterdir())[: -_KEPT_LOGS + 1]:
        shutil.rmtree(old, ignore_errors=True)  # another `tokenwire up` may be at it too
    folder = runs / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    folder.mkdir()
    return folder
