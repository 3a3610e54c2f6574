"""One round for items of many partitions: they go out together, and one that fails leaves the others alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from shared.store.contract import StoreUnavailable

T = TypeVar("T")
R = TypeVar("R")
N = TypeVar("N")


async def spread(
    items: Sequence[T],
    partition_of: Callable[[T], int],
    ask: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
    unanswered: N,
) -> list[R | N]:
    """Ask about the items of each partition apart, all in one packet per node; replies in the items' order.

    Where nobody answered the reply is ``unanswered``.  Raises StoreUnavailable if nobody did at all.
    """
    groups: dict[int, list[int]] = {}
    for index, item in enumerate(items):
        groups.setdefault(partition_of(item), []).append(index)
    if len(groups) == 1:
        return list(await ask(items))
    answers = await all_of([ask([items[index] for index in group]) for group in groups.values()])
    replies: list[R | N] = [unanswered] * len(items)
    for group, answer in zip(groups.values(), answers, strict=True):
        if not isinstance(answer, StoreUnavailable):
            for index, reply in zip(group, answer, strict=True):
                replies[index] = reply
    return replies


async def all_of(calls: Sequence[Awaitable[R]]) -> list[R | StoreUnavailable]:
    """Await all at once; a call that could not reach its server has that as its answer.

    Raises StoreUnavailable if none could, and whatever else a call raises.
    """
    answers = await asyncio.gather(*calls, return_exceptions=True)
    found: list[R | StoreUnavailable] = []
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, StoreUnavailable):
            raise answer
        found.append(answer)
    if found and all(isinstance(answer, StoreUnavailable) for answer in found):
        raise StoreUnavailable(str(found[0]))
    return found
