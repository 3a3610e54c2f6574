"""The command: `tokenwire up` with two of each tier, and a front with buttons before them."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping
from dataclasses import replace

from shared.lifecycle import run
from shared.settings import read
from tokenwire.demo.front import Front
from tokenwire.demo.strikes import Strikes
from tokenwire.options import add_options, environ_with
from tokenwire.plan import base_url
from tokenwire.processes import Fleet
from tokenwire.settings import UpSettings
from tokenwire.up import check, free_ports, say, up

_TIMES = {"LEASE_SECONDS": "3", "ATTACHMENT_SECONDS": "10", "DEFAULT_OUTPUT_TOKENS": "400"}
"""A shorter lease than usual: somebody is watching.  What the user sets goes before."""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command, those of `tokenwire up`."""
    add_options(parser, UpSettings)


def command_demo(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Run the demonstration until a signal.  Raises SettingsError or CommandError."""
    whole = _TIMES | environ_with(options, UpSettings, environ)
    settings = read(UpSettings, whole)
    check(settings)
    [inner] = free_ports(1)
    behind = replace(
        settings, port=inner, gateways=max(2, settings.gateways), workers=max(2, settings.workers)
    )

    async def beside(fleet: Fleet) -> None:
        await _front(settings, inner, fleet)

    return run(lambda stop: up(behind, whole, stop, say, beside))


async def _front(settings: UpSettings, inner: int, fleet: Fleet) -> None:
    """Serve the page with the buttons until cancelled."""
    front = Front(settings.port, inner, Strikes(fleet, metrics_page).strike)
    await front.start()
    say(f"demo {base_url(settings)}")
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await front.stop()


async def metrics_page(port: int) -> str:
    """Read the metrics of a process of ours.  Raises OSError if it does not answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        _, _, page = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    return page.decode()
