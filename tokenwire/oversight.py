"""What the commands of the person who runs the system have in common: they work on the store itself."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import AsyncIterator, Mapping

from shared.settings import read
from shared.store.census import Census
from shared.store.connect import connect
from shared.store.gateway import RedisGatewayStore
from tokenwire.options import add_options, environ_with
from tokenwire.settings import OversightSettings


def add_oversight(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the store is."""
    add_options(parser, OversightSettings)


def settings_of(options: argparse.Namespace, environ: Mapping[str, str]) -> OversightSettings:
    """Read the settings.  Raises SettingsError."""
    return read(OversightSettings, environ_with(options, OversightSettings, environ))


@contextlib.asynccontextmanager
async def overseen(settings: OversightSettings) -> AsyncIterator[tuple[RedisGatewayStore, Census]]:
    """Connect to the store."""
    link = connect(settings.redis_url)
    try:
        store = RedisGatewayStore(link, name="oversight", partitions=settings.partitions)
        yield store, Census(link, settings.partitions)
    finally:
        await link.close()
