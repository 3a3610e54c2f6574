"""`tokenwire usage`: what each principal has used, from the books that the endings keep."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import UTC, date, datetime, timedelta

from shared.settings import read
from shared.store.connect import connect
from shared.store.contract import StoreUnavailable
from shared.store.ledger import Ledger, Usage
from tokenwire.errors import FAILED, CommandError
from tokenwire.options import add_options, environ_with
from tokenwire.settings import UsageSettings

_EPOCH = date(1970, 1, 1)
_COLUMNS = ("responses", *(field.name for field in fields(Usage)))


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("--principal", help="only this one, e.g. alice or jwt:alice")
    parser.add_argument(
        "--since", type=date.fromisoformat, help="first day, UTC, e.g. 2026-11-01; 30 days ago"
    )
    parser.add_argument("--until", type=date.fromisoformat, help="last day, UTC; today without it")
    parser.add_argument("--json", action="store_true", help="print an object by principal instead of a table")
    add_options(parser, UsageSettings)


def command_usage(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the usage.  Raises SettingsError or CommandError."""
    settings = read(UsageSettings, environ_with(options, UsageSettings, environ))
    days = days_between(options.since, options.until, datetime.now(UTC).date())
    usage = asyncio.run(_read(settings, days))
    if options.principal is not None:
        usage = {options.principal: usage.get(options.principal, Usage())}
    sys.stdout.write(as_json(usage) if options.json else as_table(usage))
    return 0


def days_between(since: date | None, until: date | None, today: date) -> range:
    """Return the days asked for, in days since 1970.  Raises CommandError if there is none."""
    last = until or today
    first = since or last - timedelta(days=30)
    if first > last:
        raise CommandError(f"--since {first} is after --until {last}: there is no day between.")
    return range((first - _EPOCH).days, (last - _EPOCH).days + 1)


def as_json(usage: Mapping[str, Usage]) -> str:
    """Render usage by principal as JSON."""
    return json.dumps({name: _counts(each) for name, each in sorted(usage.items())}, indent=2) + "\n"


def as_table(usage: Mapping[str, Usage]) -> str:
    """Render usage as a table, one principal a line."""
    rows = [("principal", *_COLUMNS)]
    rows += [
        (name, *(str(_counts(each)[column]) for column in _COLUMNS)) for name, each in sorted(usage.items())
    ]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = (
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows
    )
    return "\n".join(lines) + "\n"


def _counts(usage: Usage) -> dict[str, int]:
    return {"responses": usage.responses, **asdict(usage)}


async def _read(settings: UsageSettings, days: range) -> dict[str, Usage]:
    link = connect(settings.redis_url)
    try:
        return await Ledger(link, settings.partitions).usage(days)
    except StoreUnavailable as problem:
        raise CommandError(f"{problem}. Name the store with --redis-url.", FAILED) from None
    finally:
        await link.close()
