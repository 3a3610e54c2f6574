"""The official openai package for Node, unchanged: ResponsesWS and server-sent events."""

import asyncio
import functools
import json
import urllib.request

import pytest
from other_clients import node


@pytest.fixture
def scene(stack, node_packages):
    return functools.partial(node, node_packages, stack.url)


def logged(stack, response_id):
    with urllib.request.urlopen(f"{stack.url}/v1/responses/{response_id}", timeout=10) as answer:
        return json.load(answer)["output"][0]["content"][0]["text"]


def status(stack, response_id):
    with urllib.request.urlopen(f"{stack.url}/v1/responses/{response_id}", timeout=10) as answer:
        return json.load(answer)["status"]


@pytest.mark.parametrize("name", ["ws_stream", "ws_resume", "sse_stream", "json"])
async def test_the_text_is_the_logs(stack, scene, name):
    told = (await scene(name))["ok"]
    assert told["text"] == told["final"] == await asyncio.to_thread(logged, stack, told["id"])
    assert told["text"] == "one two three four five " * 8
    assert told.get("reconnects", 0) == (1 if name == "ws_resume" else 0)
    at = 0
    for first, last in told.get("numbers", []):
        assert first == at
        at = last + 1


@pytest.mark.parametrize("name", ["ws_cancel", "sse_cancel"])
async def test_a_cancel_ends_the_stream_with_what_there_is(stack, scene, name):
    told = (await scene(name))["ok"]
    assert told["status"] == "cancelled"
    assert told["text"] == told["final"] == await asyncio.to_thread(logged, stack, told["id"])


@pytest.mark.parametrize("name", ["ws_refused", "over_limit"])
async def test_a_refusal_is_the_packages_own_error(scene, name):
    error = (await scene(name))["error"]
    assert "max_output_tokens" in error["message"] or ">= 1" in error["message"]
    if name == "over_limit":
        assert (error["status"], error["code"]) == (400, "invalid_request")


@pytest.mark.parametrize("name", ["chat", "chat_json"])
async def test_a_chat_is_the_logs_text_with_its_usage(stack, scene, name):
    told = (await scene(name))["ok"]
    assert told["text"] == "one two three four five " * 8
    assert told["text"] == await asyncio.to_thread(logged, stack, told["id"])
    assert told["status"] == "length"
    assert told["usage"]["completion_tokens"] == 40


async def test_a_chat_that_is_left_is_ended(stack, scene):
    response_id = (await scene("chat_left"))["ok"]["id"]
    async with asyncio.timeout(20):
        while await asyncio.to_thread(status, stack, response_id) != "cancelled":  # noqa: ASYNC110 - HTTP tells no other way
            await asyncio.sleep(0.05)


async def test_a_refused_chat_is_the_packages_own_error(scene):
    error = (await scene("chat_refused"))["error"]
    assert (error["status"], error["code"]) == (400, "invalid_request")
