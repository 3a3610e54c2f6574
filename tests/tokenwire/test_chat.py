import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from http import HTTPStatus

import pytest
from websockets.asyncio.server import serve

from tokenwire.__main__ import main
from tokenwire.chat import chat
from tokenwire.errors import FAILED, CommandError
from tokenwire.settings import ChatSettings

CREATED = {"type": "response.created", "sequence_number": 0, "response": {"id": "resp_1"}}


def delta(number, text):
    return {"type": "response.output_text.delta", "sequence_number": number, "delta": text}


def ending(number, kind="completed", status="completed"):
    response = {"id": "resp_1", "status": status}
    return {"type": f"response.{kind}", "sequence_number": number, "response": response}


def models(*names):
    def answer(connection, request):
        if request.path == "/v1/models":
            return connection.respond(HTTPStatus.OK, json.dumps({"data": [{"id": name} for name in names]}))
        return None

    return answer


@asynccontextmanager
async def door(handle, names=("echo",)):
    async with serve(handle, "127.0.0.1", 0, compression=None, process_request=models(*names)) as server:
        yield ChatSettings(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")


async def test_the_answer_is_written_as_it_comes(capsys):
    async def handle(connection):
        asked = json.loads(await connection.recv())
        for event in [CREATED, delta(1, "You said "), delta(2, asked["input"]), ending(3)]:
            await connection.send(json.dumps(event))

    async with door(handle) as settings:
        await chat(settings, "hello", asyncio.Event())
    assert capsys.readouterr().out == "You said hello\n"


async def test_stop_cancels_the_response_and_shows_what_there_is(capsys):
    stop = asyncio.Event()

    async def handle(connection):
        await connection.recv()
        await connection.send(json.dumps(CREATED))
        await connection.send(json.dumps(delta(1, "half")))
        stop.set()
        asked = json.loads(await connection.recv())
        assert (asked["type"], asked["response_id"]) == ("response.cancel", "resp_1")
        await connection.send(json.dumps(ending(2, "incomplete", "cancelled")))

    async with door(handle) as settings:
        await asyncio.wait_for(chat(settings, "hello", stop), 20)
    assert capsys.readouterr().out == "half\n"


async def test_an_error_is_told():
    async def handle(connection):
        await connection.recv()
        await connection.send(json.dumps({"type": "error", "error": {"message": "The queue is full."}}))

    async with door(handle) as settings:
        with pytest.raises(CommandError, match=r"The queue is full\."):
            await chat(settings, "hello", asyncio.Event())


async def test_a_gateway_that_restarts_in_mid_answer_is_not_noticed(capsys):
    asked = []

    async def handle(connection):
        asked.append(json.loads(await connection.recv()))
        if len(asked) == 1:
            await connection.send(json.dumps(CREATED))
            await connection.send(json.dumps(delta(1, "one ")))
            await connection.close(1012)
        else:
            await connection.send(json.dumps(delta(2, "two")))
            await connection.send(json.dumps(ending(3)))

    async with door(handle) as settings:
        await asyncio.wait_for(chat(settings, "hello", asyncio.Event()), 20)
    assert capsys.readouterr().out == "one two\n"
    assert (asked[1]["type"], asked[1]["starting_after"]) == ("response.resume", 1)


async def test_a_gateway_that_stays_away_in_mid_answer_is_told():
    async def handle(connection):
        await connection.recv()
        await connection.send(json.dumps(CREATED))

    async with door(handle) as settings:
        with pytest.raises(CommandError, match="Nothing answers"):
            await chat(settings, "hello", asyncio.Event(), patience=0.01)


async def test_a_gateway_without_a_model_is_told():
    async def handle(connection):
        await connection.wait_closed()

    async with door(handle, names=()) as settings:
        with pytest.raises(CommandError, match="No model is served"):
            await chat(settings, "hello", asyncio.Event())


def test_where_nothing_listens_the_user_learns_what_to_do(free_port, capsys):
    assert main(["chat", "hello", "--tokenwire-url", f"http://127.0.0.1:{free_port}"]) == 1
    assert "start `tokenwire up`" in capsys.readouterr().err


def test_an_address_that_is_none_is_refused(capsys):
    assert main(["chat", "hello", "--tokenwire-url", "localhost:8080"]) == 2
    assert "begins with http://" in capsys.readouterr().err


async def test_a_refused_key_is_told_with_what_to_do():
    def refuse(connection, _):
        return connection.respond(HTTPStatus.UNAUTHORIZED, "")

    async with serve(None, "127.0.0.1", 0, process_request=refuse) as server:
        settings = ChatSettings(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(CommandError, match=r"401 Unauthorized.*--tokenwire-key"):
            await chat(settings, "hello", asyncio.Event())


async def test_a_key_that_cannot_stand_in_a_header_is_told():
    with pytest.raises(CommandError, match="line end"):
        await chat(ChatSettings(url="http://127.0.0.1:1", key="tw_1\n"), "hello", asyncio.Event())


async def test_a_reader_that_goes_away_as_head_does_is_no_fault():
    async def handle(connection):
        await connection.recv()
        for event in [CREATED, delta(1, "half")]:
            await connection.send(json.dumps(event))
        await connection.wait_closed()

    reading, writing = os.pipe()
    os.close(reading)
    async with door(handle) as settings:
        command = [sys.executable, "-P", "-m", "tokenwire", "chat", "hello", "--tokenwire-url", settings.url]
        asked = await asyncio.create_subprocess_exec(*command, stdout=writing, stderr=asyncio.subprocess.PIPE)
        os.close(writing)
        _, said = await asked.communicate()
    assert (asked.returncode, said) == (FAILED, b"")
