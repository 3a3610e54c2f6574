import asyncio
import json

import pytest
from gateway_bench import until

from gateway.auth import DEVELOPER
from gateway.dialect import Events
from gateway.times import Viewing
from gateway.viewer import Viewer

SCOPE = {"type": "http", "method": "GET", "path": "/", "headers": []}


async def stays():
    """What a client that never leaves sends."""
    await asyncio.Event().wait()


async def leaves():
    """What a client that has left sends."""
    return {"type": "http.disconnect"}


@pytest.fixture
async def claim(bench):
    """A response that runs, asked for on a socket."""
    async with bench.client() as client:
        await client.create()
        yield await bench.hand.claim()


def viewer_of(bench, claim, **more):
    desk = bench.gateway._sockets._desk
    return Viewer(desk, DEVELOPER, desk.hub.watcher(), claim.response_id, Viewing(desk.metrics), **more)


async def given(answer, receive=stays):
    """Return the messages of an ASGI answer."""
    messages = []

    async def send(message):
        messages.append(message)

    await answer(SCOPE, receive, send)
    return messages


def body_of(messages):
    return b"".join(message.get("body", b"") for message in messages)


async def test_a_stream_goes_on_after_the_event_that_its_viewer_has(bench, claim):
    await bench.hand.say(claim, "a", "b")
    await bench.hand.finish(claim)
    viewer = viewer_of(bench, claim, after=4)
    said = body_of(await given(viewer.stream(Events(claim.response_id), merge=True)))
    events = [json.loads(line[6:]) for line in said.decode().splitlines() if line.startswith("data: ")]
    assert [event["sequence_number"] for event in events] == [5, 6, 7, 8, 9]
    assert events[0]["delta"] == "b"


async def test_the_whole_takes_its_shape_when_it_has_ended(bench, claim):
    viewer = viewer_of(bench, claim)
    answering = asyncio.create_task(
        given(viewer.whole(lambda response: b"shaped " + json.loads(response)["id"].encode(), keyed=False))
    )
    await bench.hand.say(claim, "a")
    await bench.hand.finish(claim)
    messages = await answering
    assert messages[0]["status"] == 200
    assert body_of(messages) == b"shaped " + claim.response_id.encode()


@pytest.mark.parametrize("kind", ["stream", "whole"])
async def test_who_leaves_watches_no_more(bench, claim, kind):
    viewer = viewer_of(bench, claim)
    if kind == "stream":
        answer = viewer.stream(Events(claim.response_id), merge=True)
    else:
        answer = viewer.whole(bytes, keyed=False)
    leases = bench.server.records[claim.response_id].attached
    await until(lambda: viewer.watcher in leases)
    await given(answer, leaves)
    await until(lambda: leases[viewer.watcher] <= bench.server.ms())
    assert viewer.watcher not in {each.watcher for each in bench.gateway.hub.attachments}
