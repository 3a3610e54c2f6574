from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.store.contract import StoreUnavailable
from shared.store.spread import all_of, spread


@given(st.lists(st.tuples(st.integers(0, 5), st.integers())), st.sets(st.integers(0, 5)))
def test_every_item_gets_its_own_reply_wherever_its_neighbours_fail(
    items: list[tuple[int, int]], away: set[int]
):
    async def ask(part: Sequence[tuple[int, int]]) -> list[int]:
        [partition] = {item[0] for item in part}
        if partition in away:
            raise StoreUnavailable("away")
        return [value for _, value in part]

    async def everything() -> list[int | str]:
        return await spread(items, lambda item: item[0], ask, "lost")

    if items and all(partition in away for partition, _ in items):
        with pytest.raises(StoreUnavailable, match="away"):
            asyncio.run(everything())
    else:
        expected = ["lost" if partition in away else value for partition, value in items]
        assert asyncio.run(everything()) == expected


async def test_an_error_of_our_own_is_never_taken_for_a_lost_server():
    async def fine() -> int:
        return 1

    async def broken() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await all_of([fine(), broken()])
