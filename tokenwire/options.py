"""Command line options made from settings: `--redis-url X` is REDIS_URL=X."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from shared.settings import REQUIRED, settings_of


def add_options(parser: argparse.ArgumentParser, cls: type[Any]) -> None:
    """Add an option for every setting of ``cls``; its value is a string, parsed with the environment's."""
    for _, kind, known, default in settings_of(cls):
        shown = "" if default in (None, REQUIRED) or kind is bool else f" (default {default})"
        parser.add_argument(
            "--" + known.env.lower().replace("_", "-"),
            dest=known.env,
            metavar=known.env,
            help=f"{known.help.rstrip('.')}{shown}".replace("%", "%%"),
            nargs="?" if kind is bool else None,  # --verbose alone is --verbose 1
            const="1" if kind is bool else None,
        )


def environ_with(options: argparse.Namespace, cls: type[Any], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment, with the options that were given on top."""
    given = {known.env: getattr(options, known.env) for _, _, known, _ in settings_of(cls)}
    return {**environ, **{name: value for name, value in given.items() if value is not None}}
