import asyncio
import io
import json

import pytest

from shared.background import background, log_failures, meanwhile
from shared.observe import make_logger


@pytest.fixture
def lines():
    """What is written to the log of this test's event loop."""
    logged = io.StringIO()

    def read():
        return [json.loads(line) for line in logged.getvalue().splitlines()]

    read.log = make_logger("worker", logged)
    return read


async def fails():
    raise ValueError("oh")


async def test_work_that_fails_is_logged_at_once_though_its_owner_holds_on_to_it(lines):
    log_failures(lines.log)
    task = background(fails(), "beat")
    await asyncio.wait([task])
    await asyncio.sleep(0)
    (line,) = lines()
    assert (line["level"], line["event"], line["what"]) == ("error", "unexpected", "beat has failed")
    assert line["error"] == "ValueError: oh"
    assert "in fails" in line["traceback"]


async def test_work_that_is_cancelled_is_no_failure(lines):
    log_failures(lines.log)
    task = background(asyncio.sleep(60), "beat")
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert lines() == []


async def test_a_callback_that_fails_is_logged_too(lines):
    log_failures(lines.log)
    asyncio.get_running_loop().call_soon(int, "x")
    await asyncio.sleep(0)
    assert [line["error"] for line in lines()] == ["ValueError: invalid literal for int() with base 10: 'x'"]


async def test_what_fails_meanwhile_is_logged_and_the_block_goes_on(lines):
    log_failures(lines.log)
    async with meanwhile(fails()):
        while not lines():  # noqa: ASYNC110 - a line in a log gives no sign
            await asyncio.sleep(0)
    assert [line["what"] for line in lines()] == ["fails has failed"]


async def test_what_runs_meanwhile_is_over_when_the_block_is_left_even_by_a_failure():
    told = []

    async def works(name):
        told.append(f"{name} began")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            told.append(f"{name} ended")

    async def fails():
        async with meanwhile(works("a"), works("b")):
            await asyncio.sleep(0)
            assert told == ["a began", "b began"]
            raise ValueError("oh")

    with pytest.raises(ValueError, match="oh"):
        await fails()
    assert sorted(told[2:]) == ["a ended", "b ended"]
