"""`tokenwire ps`, `tokenwire stop` and `tokenwire tail`: what runs, to end one of it, to see one being written."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from shared.lifecycle import run
from shared.log import Kind, partition_of, unescape
from shared.store.census import Census, Unfinished
from shared.store.contract import Cancelled, Followed, GatewayStore, StoreUnavailable
from tokenwire.errors import FAILED, CommandError
from tokenwire.oversight import add_oversight, overseen, settings_of

_LOOK_SECONDS = 0.3
_COLUMNS = "{:<40} {:<9} {:>7} {:>7} {:>7} {:>8}  {:<24} {:<20} {}"

Work = Callable[[GatewayStore, Census, asyncio.Event], Awaitable[None]]


def add_ps(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `ps`."""
    parser.add_argument("--json", action="store_true", help="as JSON, one line per response")
    add_oversight(parser)


def add_one(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a command about one response."""
    parser.add_argument("response_id", help="which response, as `tokenwire ps` shows it")
    add_oversight(parser)


def command_ps(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Show all responses that have not ended."""

    async def work(_: GatewayStore, census: Census, __: asyncio.Event) -> None:
        _list(await census.unfinished(), as_json=options.json)

    return _with_store(options, environ, work)


def command_stop(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """End one response at once, whoever asked for it."""

    async def work(store: GatewayStore, census: Census, _: asyncio.Event) -> None:
        principal = await _principal(census, options.response_id)
        reply = await store.cancel(options.response_id, principal)
        if not isinstance(reply, Cancelled):
            raise CommandError(_nobody_knows(options.response_id), FAILED)
        if reply.already:
            raise CommandError(f"{options.response_id} has ended before: {reply.status}.", FAILED)
        _say(f"stopped {options.response_id}")

    return _with_store(options, environ, work)


def command_tail(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Write one response's text as it comes, from its beginning to its ending.

    It is no viewer: whether the response goes on does not depend on it.
    """

    async def work(store: GatewayStore, census: Census, stop: asyncio.Event) -> None:
        await tail(store, options.response_id, await _principal(census, options.response_id), stop)

    return _with_store(options, environ, work)


async def tail(store: GatewayStore, response_id: str, principal: str, stop: asyncio.Event) -> None:
    """Read the log again and again, and write what is new.  Raises CommandError if it is lost."""
    last = -1
    while not stop.is_set():
        log = await store.follow(response_id, principal, None, last, None)
        if not isinstance(log, Followed):
            raise CommandError(f"{response_id} cannot be read on: {log.value}.", FAILED)
        if log.unreadable:
            raise CommandError(f"{response_id} cannot be read on: it is a newer version's.", FAILED)
        text = unescape("".join(entry.text for entry in log.entries if entry.kind is Kind.DELTA))
        sys.stdout.write(text)
        sys.stdout.flush()
        last = log.last - 1
        if log.status.terminal:
            sys.stdout.write("\n")
            sys.stderr.write(f"{log.status.value}\n")
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await stop.wait()


def _with_store(options: argparse.Namespace, environ: Mapping[str, str], work: Work) -> int:
    """Do the work with a connection.  Raises SettingsError or CommandError."""
    settings = settings_of(options, environ)

    async def main(stop: asyncio.Event) -> None:
        try:
            async with overseen(settings) as (store, census):
                await work(store, census, stop)
        except StoreUnavailable as problem:
            raise CommandError(f"{problem}. Name the store with --redis-url.", FAILED) from None

    return run(main)


async def _principal(census: Census, response_id: str) -> str:
    try:
        partition_of(response_id)
    except ValueError:
        raise CommandError(f"{response_id!r} is no response id: `tokenwire ps` shows them.") from None
    principal = await census.principal_of(response_id)
    if principal is None:
        raise CommandError(_nobody_knows(response_id), FAILED)
    return principal


def _nobody_knows(response_id: str) -> str:
    return f"There is no response {response_id}: it never was, or its log has expired."


def _list(responses: Sequence[Unfinished], *, as_json: bool) -> None:
    if as_json:
        for each in responses:
            _say(msgspec.json.encode(each).decode())
        return
    _say(
        _COLUMNS.format(
            "RESPONSE", "STATUS", "AGE", "EVENTS", "VIEWERS", "ATTEMPTS", "WORKER", "MODEL", "WHOSE"
        )
    )
    for each in responses:
        _say(
            _COLUMNS.format(
                each.response_id,
                each.status.value,
                f"{each.age:.1f}s",
                each.events,
                each.viewers,
                each.attempts,
                each.worker or "-",
                each.model,
                each.principal,
            ).rstrip()
        )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
