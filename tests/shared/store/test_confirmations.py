"""A confirmation may be lost with its link; a wait for one is not."""

import asyncio

import pytest

from shared.store.confirmations import Confirmations


async def waiting(confirmations, channel):
    task = asyncio.create_task(confirmations.wait(channel))
    await asyncio.sleep(0)
    return task


async def test_a_confirmed_channel_is_not_waited_for():
    confirmations = Confirmations()
    confirmations.add(b"a")

    await confirmations.wait(b"a")

    assert confirmations.standing == {b"a"}


async def test_all_who_wait_for_a_channel_go_on_when_it_is_confirmed_and_nobody_else():
    confirmations = Confirmations()
    first, second = [await waiting(confirmations, b"a") for _ in range(2)]
    other = await waiting(confirmations, b"b")

    confirmations.add(b"a")
    await asyncio.gather(first, second)

    assert not other.done()
    confirmations.close()


async def test_a_wait_outlives_links():
    confirmations = Confirmations()
    task = await waiting(confirmations, b"a")

    confirmations.lose_all()
    confirmations.lose(b"a")
    await asyncio.sleep(0)
    assert not task.done()

    confirmations.add(b"a")
    await task


async def test_a_confirmation_that_was_lost_is_waited_for_anew():
    confirmations = Confirmations()
    for lose in (lambda: confirmations.lose(b"a"), confirmations.lose_all):
        confirmations.add(b"a")
        lose()
        assert confirmations.standing == set()
        task = await waiting(confirmations, b"a")
        assert not task.done()
        confirmations.add(b"a")
        await task


async def test_who_waits_for_a_channel_that_is_given_up_is_cancelled():
    confirmations = Confirmations()
    task = await waiting(confirmations, b"a")

    confirmations.give_up(b"a")

    with pytest.raises(asyncio.CancelledError):
        await task
    confirmations.add(b"a")
    confirmations.give_up(b"a")
    assert confirmations.standing == set()


async def test_one_who_leaves_does_not_end_the_wait_of_the_others():
    confirmations = Confirmations()
    leaver, stayer = [await waiting(confirmations, b"a") for _ in range(2)]

    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    confirmations.add(b"a")

    await stayer


async def test_a_close_cancels_every_wait():
    confirmations = Confirmations()
    tasks = [await waiting(confirmations, channel) for channel in (b"a", b"b")]

    confirmations.close()

    for task in tasks:
        with pytest.raises(asyncio.CancelledError):
            await task
