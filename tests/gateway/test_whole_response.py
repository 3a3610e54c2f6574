import asyncio
import json

import pytest
from gateway_bench import until

from gateway.errors import Code, WireError
from gateway.render import Event
from gateway.whole_response import Collector
from shared.log import Status


def event(number, **body):
    return Event("response.any", number, json.dumps(body).encode())


def test_a_collector_keeps_the_last_object_that_an_event_carries():
    collector = Collector()
    collector.events([event(0, response={"id": "first"}), event(1, item={})])
    collector.delta(1, 2, b"passes")
    collector.replay(1, 3, [b"passes", b"too"])
    assert json.loads(collector.response) == {"id": "first"}
    collector.events([event(5, response={"id": "last"}), event(6)])
    assert json.loads(collector.response) == {"id": "last"}


@pytest.mark.parametrize("error", [None, WireError(Code.RESUME_UNAVAILABLE)], ids=["ended", "failed"])
async def test_a_collector_is_waited_for_until_the_end_or_a_failure(error):
    collector = Collector()
    waiting = asyncio.create_task(collector.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    collector.ended() if error is None else collector.failed(error)
    await waiting
    assert collector.error is error


async def test_leaving_a_waiting_post_stops_it(bench):
    async with bench.http() as client:
        asking = asyncio.create_task(client.post("/v1/responses", json={"input": "x"}))
        claim = await bench.hand.claim()
        asking.cancel()
        await until(lambda: bench.server.records[claim.response_id].status is Status.CANCELLED)
