import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry
from websockets.asyncio.server import serve

from shared.observe import Probes
from tokenwire import readiness
from tokenwire.errors import CommandError
from tokenwire.plan import Process, Role
from tokenwire.readiness import answers_ready, first_token, named_server_listens

CREATED = {"type": "response.created", "response": {"id": "resp_1"}}
DELTA = {"type": "response.output_text.delta", "delta": "Hi"}
NO_WORKER = {"type": "error", "status": 503, "error": {"code": "no_worker", "message": "No worker yet."}}
BAD = {"type": "error", "status": 400, "error": {"code": "model_not_found", "message": "No such model."}}
FAILED = {"type": "response.failed", "response": {"error": {"message": "Out of memory."}}}
COMPLETED = {"type": "response.completed", "response": {}}


@asynccontextmanager
async def door(*answers):
    """A gateway that gives one list of events to each connection, the last one to all later ones."""
    asked = []

    async def handle(connection):
        asked.append(json.loads(await connection.recv()))
        for event in answers[min(len(asked), len(answers)) - 1]:
            await connection.send(json.dumps(event))

    async with serve(handle, "127.0.0.1", 0, compression=None) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


async def wait_for_token(*answers):
    told = []
    async with door(*answers) as (url, asked):
        await asyncio.wait_for(first_token(url, "echo", told.append), 20)
    return asked, told


async def test_a_delta_is_a_token():
    asked, _ = await wait_for_token([CREATED, DELTA])
    assert asked == [
        {
            "type": "response.create",
            "model": "echo",
            "input": "Hi",
            "max_output_tokens": 16,
            "temperature": 1.0,
        }
    ]


async def test_an_answer_without_text_is_an_answer():
    asked, _ = await wait_for_token([CREATED, COMPLETED])
    assert len(asked) == 1


async def test_what_passes_by_itself_is_waited_for():
    asked, _ = await wait_for_token([NO_WORKER], [NO_WORKER], [CREATED, DELTA])
    assert len(asked) == 3


async def test_a_connection_that_breaks_is_tried_again():
    asked, _ = await wait_for_token([], [CREATED], [CREATED, DELTA])
    assert len(asked) == 3


async def test_who_waits_long_is_told_for_what(monkeypatch):
    monkeypatch.setattr(readiness, "_SILENCE", 0.0)
    _, told = await wait_for_token([NO_WORKER], [CREATED, DELTA])
    assert told == ["waiting for the first token: No worker yet."]


@pytest.mark.parametrize(("event", "sentence"), [(BAD, "No such model."), (FAILED, "Out of memory.")])
async def test_what_does_not_pass_is_told(event, sentence):
    with pytest.raises(CommandError, match=f"The first answer failed: {sentence}"):
        await wait_for_token([event])


async def test_a_process_is_ready_when_it_says_so():
    missing = ["Redis does not answer.", None]
    told = []
    probes = Probes("127.0.0.1", 0, CollectorRegistry(), lambda: missing.pop(0), 60.0)
    process = Process("worker-1", Role.WORKER, (), {}, probes.start())
    try:
        await asyncio.wait_for(answers_ready(process, told.append), 20)
    finally:
        probes.stop()
    assert missing == []


async def test_a_process_that_does_not_listen_is_waited_for(monkeypatch, free_port):
    monkeypatch.setattr(readiness, "_SILENCE", 0.0)
    told = []
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(
            answers_ready(Process("worker-1", Role.WORKER, (), {}, free_port), told.append), 0.2
        )
    assert told[0] == "waiting for worker-1: it does not answer yet"


async def test_a_process_without_a_probe_is_not_asked():
    assert await answers_ready(Process("valkey", Role.SERVER, (), {}), print) is None


async def test_a_server_that_listens_may_be_named(valkey, free_port):
    await named_server_listens(valkey)
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", free_port):
        await named_server_listens(f"redis://127.0.0.1:{free_port}/0")


@pytest.mark.parametrize(
    "url", ["redis://user:s3cret@127.0.0.1:{port}/0", "unix:///nowhere.sock?password=s3cret"]
)
async def test_a_named_server_that_does_not_listen_is_told_without_its_password(url, free_port):
    with pytest.raises(CommandError, match="Nothing listens at REDIS_URL") as caught:
        await named_server_listens(url.format(port=free_port))
    assert "s3cret" not in str(caught.value)
