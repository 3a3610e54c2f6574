import asyncio
import io
import json

from gateway_bench import PATIENCE

from gateway.tasks import Tasks
from shared.observe import make_logger


async def test_a_failure_is_logged():
    logged = io.StringIO()
    tasks = Tasks(make_logger("gateway", logged))

    async def fails():
        raise ValueError("oh")

    await asyncio.wait([tasks.spawn(fails(), "work")])
    await asyncio.sleep(0)
    line = json.loads(logged.getvalue())
    assert (line["event"], line["task"]) == ("task_failed", "work")
    assert len(tasks) == 0


async def test_a_step_that_fails_is_taken_again():
    logged = io.StringIO()
    tasks = Tasks(make_logger("gateway", logged))
    taken = asyncio.Event()
    steps = []

    async def step():
        steps.append(1)
        if len(steps) == 1:
            raise ValueError("oh")
        taken.set()

    tasks.every(0.001, step, "round")
    async with asyncio.timeout(PATIENCE):
        await taken.wait()
    await tasks.finish(0)
    assert json.loads(logged.getvalue().splitlines()[0])["event"] == "step_failed"


async def test_what_does_not_finish_is_cancelled():
    tasks = Tasks(make_logger("gateway", io.StringIO()))
    forever = tasks.spawn(asyncio.Event().wait(), "forever")
    soon = tasks.spawn(asyncio.sleep(0, "done"), "soon")
    await tasks.finish(0.05)
    assert forever.cancelled()
    assert soon.result() == "done"
    assert len(tasks) == 0
