"""Several gateways over one real server, in this process, with one worker moved by hand."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from gateway_bench import Bench, opened

from gateway.app import Gateway
from shared.store.access import RedisAccess, RevocationReader
from shared.store.contract import Live
from shared.store.gateway import RedisGatewayStore
from shared.store.link import Link
from shared.store.live import LiveReader
from shared.store.meters import RedisMeters
from shared.store.worker import RedisWorkerStore


@contextlib.asynccontextmanager
async def hand_on(url: str) -> AsyncIterator[RedisWorkerStore]:
    """A worker's store on the emptied server, moved by hand."""
    link = Link.to(url)
    await link.command("FLUSHALL")
    store = RedisWorkerStore(link, url, worker="worker-1", model="tiny", build="build")
    try:
        yield store
    finally:
        await store.close()
        await link.close()


@contextlib.asynccontextmanager
async def on_server(url: str, gateways: int = 1, **changes: object) -> AsyncIterator[list[Bench]]:
    """Open so many gateways; each bench has a hand of the one worker."""
    async with contextlib.AsyncExitStack() as stack:
        worker = await stack.enter_async_context(hand_on(url))
        benches = []
        for number in range(gateways):
            link = Link.to(url)
            stack.push_async_callback(link.close)

            controls: list[RevocationReader] = []

            def make_live(gateway: Gateway, controls: list[RevocationReader] = controls) -> Live:
                live = LiveReader(url, gateway.hub.on_live, gateway.hub.on_link)
                live.start()
                stack.push_async_callback(live.close)
                control = RevocationReader(url, gateway.on_revoked, gateway.on_control_link)
                control.start()
                controls.append(control)
                stack.push_async_callback(control.close)
                return live

            store = RedisGatewayStore(link, name=f"gateway-{number}")
            benches.append(
                await stack.enter_async_context(
                    opened(
                        store,
                        worker,
                        make_live,
                        access=RedisAccess(link),
                        meters=RedisMeters(link),
                        **changes,
                    )
                )
            )
            await controls[0].ready()
        yield benches
