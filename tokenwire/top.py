"""`tokenwire top`: gateways, workers, what waits and runs, tokens per second and latency, as it happens."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import fields

import msgspec

from shared.lifecycle import run
from shared.store.contract import GatewayStore, StoreUnavailable
from tokenwire.errors import FAILED, CommandError
from tokenwire.figures import Figures, GatewayRow, Look, WorkerRow, figures
from tokenwire.oversight import add_oversight, overseen, settings_of

_PAUSE = 2.0
_WINDOW = 6
"""Looks that a rate is taken over: longer than two announcements are apart."""
_ONCE = 5.0
"""Seconds between the two looks of ``--once``: announcements are three apart."""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("--once", action="store_true", help="show it once, from two looks, and end")
    parser.add_argument("--json", action="store_true", help="as JSON, a line per look")
    add_oversight(parser)


def command_top(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Show the figures until Ctrl-C.  Raises SettingsError or CommandError."""
    settings = settings_of(options, environ)

    async def main(stop: asyncio.Event) -> None:
        async with overseen(settings) as (store, _):
            await top(store, stop, once=options.once, as_json=options.json)

    return run(main)


async def top(store: GatewayStore, stop: asyncio.Event, *, once: bool, as_json: bool) -> None:
    """Look and show, again and again, until ``stop`` is set.  Raises CommandError."""
    try:
        first = await look(store)
    except StoreUnavailable as problem:
        raise CommandError(f"{problem}. Name the store with --redis-url.", FAILED) from None
    if once:
        await _pause(stop, _ONCE)
        _show(figures(first, await look(store)), as_json=as_json)
        return
    if as_json:
        await _stream(store, stop, first)
    else:
        await _live(store, stop, first)


async def look(store: GatewayStore) -> Look:
    """Ask for everything once.  Raises StoreUnavailable."""
    workers, gateways = await asyncio.gather(store.workers(), store.gateways())
    models = sorted({each.info.model for each in workers})
    waiting = await asyncio.gather(*map(store.waiting, models))
    return Look(gateways, workers, dict(zip(models, waiting, strict=True)))


async def _stream(store: GatewayStore, stop: asyncio.Event, first: Look) -> None:
    looks = deque([first], maxlen=_WINDOW)
    while not stop.is_set():
        await _pause(stop, _PAUSE)
        with contextlib.suppress(StoreUnavailable):  # the next look will tell
            looks.append(await look(store))
            _show(figures(looks[0], looks[-1]), as_json=True)


async def _live(store: GatewayStore, stop: asyncio.Event, first: Look) -> None:
    try:
        from rich.console import Group  # noqa: PLC0415 - only a live view needs it
        from rich.live import Live  # noqa: PLC0415 - as above
        from rich.text import Text  # noqa: PLC0415 - as above
    except ImportError:
        raise CommandError("A live view needs rich: pip install rich, or use --once or --json.") from None
    looks, problem = deque([first], maxlen=_WINDOW), ""
    with Live(auto_refresh=False, screen=True) as screen:
        while not stop.is_set():
            shown = [Text(page(figures(looks[0], looks[-1])))]
            screen.update(Group(*shown, Text(problem, style="red")), refresh=True)
            await _pause(stop, _PAUSE)
            try:
                looks.append(await look(store))
                problem = ""
            except StoreUnavailable as lost:
                problem = str(lost)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


def _show(shown: Figures, *, as_json: bool) -> None:
    text = msgspec.json.encode(shown).decode() if as_json else page(shown)
    sys.stdout.write(text.rstrip("\n") + "\n")
    sys.stdout.flush()


def page(shown: Figures) -> str:
    """Write the figures as lines for a terminal."""
    times = shown.latencies
    waiting = "  ".join(f"{model} {count}" for model, count in shown.waiting.items()) or "no model is known"
    return "\n".join(
        [
            (
                f"tokens/s {number(shown.tokens_per_second)}   running {shown.running} of {shown.slots}   "
                f"waiting: {waiting}"
            ),
            (
                f"first token p50 {seconds(times.first_token_p50)}  p95 {seconds(times.first_token_p95)}   "
                f"between tokens p50 {seconds(times.between_tokens_p50)}  p95 {seconds(times.between_tokens_p95)}"
            ),
            "",
            *table(GatewayRow, shown.gateways),
            "",
            *table(WorkerRow, shown.workers),
        ]
    )


def table(kind: type[GatewayRow | WorkerRow], rows: Sequence[GatewayRow | WorkerRow]) -> list[str]:
    """Write rows under their names, as wide as needed."""
    names = [field.name for field in fields(kind)]
    head = [name.replace("_per_second", "/s").replace("_", " ").upper() for name in names]
    cells = [head, *([cell(getattr(row, name)) for name in names] for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(names))]
    return [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]


def cell(value: object) -> str:
    """Write one value of a table."""
    if value is None or isinstance(value, float):
        return number(value)
    return str(value) or "-"


def number(value: float | None) -> str:
    """Write a rate; one that is not known yet is a dash."""
    return "-" if value is None else f"{value:.1f}"


def seconds(value: float | None) -> str:
    """Write a time so that it can be read at a glance."""
    if value is None:
        return "-"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"
