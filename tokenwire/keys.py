"""`tokenwire keys`: makes, lists and revokes API keys, in the store that the gateways use."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

import msgspec

from shared.api_key import NAME, RANDOM_BYTES, KeyRecord, mint
from shared.quota import Quota
from shared.settings import read
from shared.store.access import Access, RedisAccess
from shared.store.call import ServerError
from shared.store.connect import connect
from shared.store.contract import StoreUnavailable
from tokenwire.errors import FAILED, CommandError
from tokenwire.options import add_options, environ_with
from tokenwire.settings import KeysSettings

Work = Callable[[Access], Awaitable[None]]

_BOUNDS = {
    "sockets": "open sockets",
    "responses": "responses that run or wait",
    "messages_per_minute": "messages in a minute",
    "requests_per_minute": "responses asked for in a minute",
    "tokens_per_minute": "tokens in a minute",
}


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the commands of this command."""
    verbs = parser.add_subparsers(required=True, metavar="verb")
    create = verbs.add_parser("create", help="make a key and show it, once")
    create.add_argument("name", help="whose it is: responses, limits and usage go by this name")
    create.add_argument("--days", type=_positive, help="how long it is good; for ever without it")
    for field, meaning in _BOUNDS.items():
        create.add_argument(
            f"--{field.replace('_', '-')}", dest=field, type=_natural, help=f"{meaning}; 0 is no bound"
        )
    create.set_defaults(verb=_create)
    listing = verbs.add_parser("list", help="list all keys; what they are is not known")
    listing.set_defaults(verb=_list)
    revoke = verbs.add_parser("revoke", help="end a key, and its sockets and streams, on all gateways")
    revoke.add_argument(
        "which", help="the id of a key, or with --principal a name: its keys and all its tokens up to now"
    )
    revoke.add_argument("--principal", action="store_true", help="revoke everything of a principal")
    revoke.set_defaults(verb=_revoke)
    for verb in (create, listing, revoke):
        add_options(verb, KeysSettings)


def command_keys(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Run one verb.  Raises SettingsError or CommandError."""
    settings = read(KeysSettings, environ_with(options, KeysSettings, environ))
    return with_access(settings.redis_url, options.verb(options))


def with_access(redis_url: str, work: Work) -> int:
    """Do the work with a connection.  Raises CommandError if the store does not answer."""

    async def main() -> None:
        link = connect(redis_url)
        try:
            await work(RedisAccess(link))
        except StoreUnavailable as problem:
            raise CommandError(f"{problem}. Name the store with --redis-url.", FAILED) from None
        except ServerError as problem:
            raise CommandError(f"The store refuses: {problem}.", FAILED) from None
        finally:
            await link.close()

    asyncio.run(main())
    return 0


def _create(options: argparse.Namespace) -> Work:
    if not NAME.fullmatch(options.name):
        raise CommandError(
            f"{options.name!r} can't be a key's name: 1 to 64 letters, digits, '_', '.', '@' or '-'."
        )
    bounds = {name: getattr(options, name) for name in _BOUNDS if getattr(options, name) is not None}

    async def work(access: Access) -> None:
        now = int(time.time())
        expires = now + round(options.days * 86_400) if options.days else None
        key = mint(secrets.token_bytes(RANDOM_BYTES))
        quota = Quota(**bounds) if bounds else None
        await access.add_key(KeyRecord(key.id, options.name, key.digest, now, expires, quota))
        _say(f"key {key.id} of {options.name}, {_until(expires)}; it is not shown again:")
        _say(key.text)

    return work


def _list(_: argparse.Namespace) -> Work:
    async def work(access: Access) -> None:
        records = await access.all_keys()
        if not records:
            _say("There are no keys: make one with `tokenwire keys create NAME`.")
        for record in records:
            _say(
                "  ".join(
                    [
                        record.id,
                        record.name,
                        f"made {_day(record.created)}",
                        _until(record.expires),
                        _quota(record),
                    ]
                ).rstrip()
            )

    return work


def _revoke(options: argparse.Namespace) -> Work:
    async def one(access: Access) -> None:
        if not await access.revoke_key(options.which):
            raise CommandError(f"There is no key {options.which}: `tokenwire keys list` shows them.")
        _say(f"revoked {options.which}")

    async def all_of(access: Access) -> None:
        for record in await access.all_keys():
            if record.name == options.which and await access.revoke_key(record.id):
                _say(f"revoked {record.id}")
        await access.revoke_principal(options.which)
        _say(f"revoked all tokens of {options.which} up to now")

    return all_of if options.principal else one


def _until(expires: int | None) -> str:
    if expires is None:
        return "never ends"
    return f"{'ended' if expires <= time.time() else 'ends'} {_day(expires)}"


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def _quota(record: KeyRecord) -> str:
    bounds: dict[str, int] = msgspec.to_builtins(record.quota) if record.quota else {}
    return " ".join(f"{name}={value}" for name, value in bounds.items())


def _natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 100_000:
        raise ValueError(text)
    return value


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
