"""What only the channels of a Cluster can get wrong, without one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shared.store.cluster import SlotMap
from shared.store.cluster_channels import ClusterChannels
from shared.store.contract import StoreUnavailable
from shared.store.place import parse


@pytest.mark.parametrize(
    ("problem", "told"), [(StoreUnavailable("away"), []), (KeyError("reply"), ["'reply'"])]
)
async def test_the_map_is_read_again_whatever_became_of_the_last_reading(monkeypatch, problem, told):
    heard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
    read = asyncio.Event()
    problems = [problem]

    async def reads(_self: SlotMap) -> None:
        if problems:
            raise problems.pop()
        read.set()

    monkeypatch.setattr(SlotMap, "read", reads)
    channels = ClusterChannels(parse("redis+cluster://127.0.0.1:1"), lambda _channel, _data: None)
    channels.want([b"{p0}c:x"])
    channels.start()

    async with asyncio.timeout(40):
        await read.wait()
    await channels.close()

    assert [str(each["exception"]) for each in heard] == told
