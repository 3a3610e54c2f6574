"""`llm`, a command-line client that nobody here wrote, unchanged but for its list of models."""

import asyncio
import functools
import json
import urllib.request

import pytest
from other_clients import llm as run_llm

TEXT = "one two three four five "


@pytest.fixture
def llm(stack, tmp_path):
    return functools.partial(run_llm, tmp_path, stack.url)


async def of_log(stack, llm):
    """Return the text of the log that the client's own record of its last answer names, and that record's."""
    code, out, err = await llm("logs", "-n", "1", "--json")
    assert code == 0, err
    (record,) = json.loads(out)
    response_id = "resp_" + record["response_json"]["id"].rpartition("-")[2]
    url = f"{stack.url}/v1/responses/{response_id}"
    answer = await asyncio.to_thread(urllib.request.urlopen, url, timeout=10)
    with answer:
        stored = json.load(answer)
    assert record["response"] == stored["output"][0]["content"][0]["text"]
    return stored


@pytest.mark.parametrize("way", [(), ("--no-stream",)], ids=["streamed", "whole"])
@pytest.mark.parametrize("model", ["chat", "text"])
async def test_what_it_shows_is_the_logs_text(stack, llm, model, way):
    code, out, err = await llm("-m", model, *way, "-o", "max_tokens", "20", TEXT)
    assert code == 0, err
    assert out.rstrip("\n") == TEXT * 4
    stored = await of_log(stack, llm)
    assert stored["usage"]["output_tokens"] == 20


async def test_it_goes_on_with_a_conversation(stack, llm):
    await llm("-m", "chat", "-o", "max_tokens", "2", TEXT)
    code, out, err = await llm("-c", "-o", "max_tokens", "2", "six seven")
    assert (code, out.rstrip("\n")) == (0, "six seven "), err
    assert (await of_log(stack, llm))["usage"]["input_tokens"] > 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-m", "absent", TEXT), "There is no such model here"),
        (("-m", "chat", "-o", "max_tokens", "0", TEXT), ">= 1"),
        (("-m", "chat", "-o", "max_tokens", "2000000", TEXT), "1000000"),
    ],
)
async def test_a_refusal_is_shown_with_its_sentence(llm, arguments, said):
    code, out, err = await llm(*arguments)
    assert code != 0
    assert said in err, err
    assert not out.strip()
