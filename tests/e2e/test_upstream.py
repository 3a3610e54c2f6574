"""Both tiers in front of a server that is there already: Stop, hand-over, and one Tokenwire behind another."""

from __future__ import annotations

import asyncio

import pytest
from gateway_bench import assert_contiguous, text_of
from openai import AsyncOpenAI
from store_bench import eventually
from upstream import PATIENCE, Upstream, serving
from whole import PROMPT, Viewer, expected, whole

from gateway.auth import DEVELOPER
from shared.log import unescape

SAID = {"slots": 16, "lease_seconds": 1.0}


def watch(made, model, tokens, **fields):
    """Ask a model for an answer and watch it."""
    message = {
        "type": "response.create",
        "model": model,
        "input": PROMPT,
        "max_output_tokens": tokens,
        **fields,
    }
    viewer = Viewer(tokens)
    viewer.task = asyncio.create_task(viewer._talk(made.gateway.port, message))
    made.viewers.append(viewer)
    return viewer


async def served(made, *models):
    """Wait until models can be asked for."""

    async def announced():
        return {each.info.model for each in await made.store.workers()} >= set(models)

    await eventually(announced, PATIENCE)
    await made.gateway._round()


async def logged(made, viewer):
    log = await made.log_of(viewer.response_id)
    return unescape("".join(entry.text for entry in log.entries))


async def test_stop_closes_the_connection_to_the_upstream_and_ends_with_what_there_is(valkey):
    async with serving(Upstream(context=10_000, pause=0.01)) as upstream, whole(valkey, workers=0) as made:
        made.start("asker", engine="openai", upstream=upstream.url, **SAID)
        await served(made, "parrot")
        viewer = watch(made, "parrot", 4_000)
        await viewer.saw(5)
        await made.store.cancel(viewer.response_id, DEVELOPER.name)
        last = await viewer.end()
        await asyncio.wait_for(upstream.asked[0].left.wait(), PATIENCE)
        assert last["response"]["status"] == "cancelled"
        assert upstream.asked[0].sent < 4_000
        assert text_of(viewer.events) == await logged(made, viewer)


async def test_what_waits_for_a_slot_when_it_is_stopped_never_reaches_the_upstream(valkey):
    async with serving(Upstream(context=10_000, pause=0.01)) as upstream, whole(valkey, workers=0) as made:
        made.start("asker", engine="openai", upstream=upstream.url, upstream_slots=1, **SAID)
        await served(made, "parrot")
        first = watch(made, "parrot", 4_000)
        await first.saw(2)
        waiting = watch(made, "parrot", 10)
        await waiting.until(lambda: waiting.events)
        await made.store.cancel(waiting.response_id, DEVELOPER.name)
        await waiting.end()
        await made.store.cancel(first.response_id, DEVELOPER.name)
        await first.end()
        later = watch(made, "parrot", 3)
        await later.end()
        assert [asked.body["max_tokens"] for asked in upstream.asked] == [4_000, 3]


@pytest.mark.parametrize("how", ["continue", "replay"])
async def test_a_worker_that_dies_is_followed_by_another_that_asks_for_the_rest(valkey, how):
    async with serving(Upstream(context=10_000, pause=0.02)) as upstream, whole(valkey, workers=0) as made:
        asker = {"engine": "openai", "upstream": upstream.url, "upstream_resume": how, **SAID}
        made.start("first", **asker)
        await served(made, "parrot")
        viewer = watch(made, "parrot", 200)
        await viewer.saw(20)
        await made.kill("first")
        made.start("second", **asker)
        last = await viewer.end()
        assert last["response"]["usage"]["output_tokens"] == 200
        assert text_of(viewer.events) == await logged(made, viewer) == expected(200).rstrip()
        assert_contiguous(viewer.events)
        began, again = upstream.asked
        assert began.left.is_set()
        assert (again.body["max_tokens"] < 200) == (how == "continue")


async def test_a_worker_that_is_told_to_stop_leaves_nothing_at_the_upstream(valkey):
    async with serving(Upstream(context=10_000, pause=0.02)) as upstream, whole(valkey, workers=0) as made:
        asker = {"engine": "openai", "upstream": upstream.url, **SAID}
        made.start("first", **asker)
        await served(made, "parrot")
        viewers = [watch(made, "parrot", 60) for _ in range(4)]
        await asyncio.gather(*(viewer.saw(5) for viewer in viewers))
        made.start("second", **asker)
        task, stop = made.workers.pop("first")
        stop.set()
        await asyncio.wait_for(task, PATIENCE)
        await asyncio.gather(*(asyncio.wait_for(asked.left.wait(), PATIENCE) for asked in upstream.asked[:4]))
        await asyncio.gather(*(viewer.end() for viewer in viewers))
        assert [text_of(viewer.events) for viewer in viewers] == [expected(60).rstrip()] * 4


async def test_one_tokenwire_behind_another_gives_its_text_usage_and_logprobs(valkey):
    async with whole(valkey) as made:
        url = f"http://127.0.0.1:{made.gateway.port}"
        made.start("asker", engine="openai", upstream=url, upstream_model="echo", model_name="second", **SAID)
        await served(made, "echo", "second")
        viewer = watch(made, "second", 30, top_logprobs=2)
        last = await viewer.end()
        assert text_of(viewer.events) == expected(30)
        assert last["response"]["usage"]["output_tokens"] == 30
        assert last["response"]["usage"]["input_tokens"] == len(PROMPT.split())
        (part,) = last["response"]["output"][0]["content"]
        assert "".join(each["token"] for each in part["logprobs"]) == expected(30)
        assert part["logprobs"][1]["top_logprobs"][0]["logprob"] == -0.25
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="any") as client:
            asked = {"model": "second", "prompt": "a b c", "max_tokens": 4}
            assert (await client.completions.create(**asked)).choices[0].text == "a b c a "


async def test_a_stop_goes_through_two_tokenwires(valkey):
    async with whole(valkey) as made:
        url = f"http://127.0.0.1:{made.gateway.port}"
        made.start("asker", engine="openai", upstream=url, upstream_model="echo", model_name="second", **SAID)
        await served(made, "echo", "second")
        viewer = watch(made, "second", 3_000)
        await viewer.saw(5)
        await made.store.cancel(viewer.response_id, DEVELOPER.name)
        await viewer.end()
        await settled(lambda: over(made, "worker-1"))


def over(made, worker):
    """How many responses a worker has let go of."""
    lines = made.logged("finished") + made.logged("claim_lost")
    return [line for line in lines if line["worker"] == worker]


async def settled(ask):
    """Wait for what no event tells of."""
    async with asyncio.timeout(PATIENCE):
        while not ask():  # noqa: ASYNC110 - that is what it is for
            await asyncio.sleep(0.02)
