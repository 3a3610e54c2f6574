"""`llm`, a command-line client that nobody here wrote, unchanged but for its list of models."""

import asyncio
import json
import os
import sys
import urllib.request
from pathlib import Path

import pytest

TEXT = "one two three four five "
MODELS = """
- model_id: chat
  model_name: echo
  api_base: {base}
- model_id: text
  model_name: echo
  api_base: {base}
  completion: true
- model_id: absent
  model_name: no-such-model
  api_base: {base}
"""


@pytest.fixture
def llm(stack, tmp_path):
    (tmp_path / "extra-openai-models.yaml").write_text(MODELS.format(base=f"{stack.url}/v1"))

    async def run(*arguments):
        """Return exit code, output and what was said of errors."""
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("llm"),
            *arguments,
            # The package of the small model's weights is a plugin of this client; it cannot run here.
            env={
                **os.environ,
                "LLM_USER_PATH": str(tmp_path),
                "LLM_LOAD_PLUGINS": "",
                "OPENAI_API_KEY": "any",
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 90)
        return process.returncode, out.decode(), err.decode()

    return run


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
