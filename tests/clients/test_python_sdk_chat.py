"""The older APIs by the official openai package for Python, unchanged, sync and async."""

import openai
import pytest
from openai import APIError, AsyncOpenAI, BadRequestError, NotFoundError, OpenAI

TEXT = "one two three four five "
CHAT = {"model": "echo", "messages": [{"role": "user", "content": TEXT}], "max_tokens": 20, "temperature": 0}
PROMPT = {"model": "echo", "prompt": TEXT, "max_tokens": 20, "temperature": 0}


@pytest.fixture
async def client(stack):
    async with AsyncOpenAI(base_url=f"{stack.url}/v1", api_key="any", max_retries=0) as made:
        yield made


@pytest.fixture
def plain(stack):
    with OpenAI(base_url=f"{stack.url}/v1", api_key="any", max_retries=0) as made:
        yield made


def of_log(plain, completion_id, text):
    """Check a text against the log that the completion's id names."""
    stored = plain.responses.retrieve("resp_" + completion_id.rpartition("-")[2])
    assert stored.output_text == text
    return stored


def said(chunk):
    choice = chunk.choices[0]
    return (choice.text if hasattr(choice, "text") else choice.delta.content) or ""


def test_a_whole_chat_is_the_logs_text(plain):
    whole = plain.chat.completions.create(**CHAT)
    stored = of_log(plain, whole.id, whole.choices[0].message.content)
    assert whole.choices[0].message.content == TEXT * 4
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage.total_tokens == stored.usage.total_tokens == 25
    assert whole.system_fingerprint.startswith("fp_")


def test_a_streamed_chat_is_the_logs_text_with_its_usage(plain):
    chunks = list(plain.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True}))
    *chunks, usage = chunks
    text = "".join(map(said, chunks))
    stored = of_log(plain, chunks[0].id, text)
    assert text == TEXT * 4
    assert chunks[0].choices[0].delta.role == "assistant"
    assert (usage.choices, usage.usage.total_tokens) == ([], stored.usage.total_tokens)


def test_the_stream_helper_puts_a_chat_together(plain):
    with plain.chat.completions.stream(
        **CHAT, seed=7, stop=["three"], logprobs=True, top_logprobs=2
    ) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "one two "
    assert final.choices[0].finish_reason == "stop"
    assert "".join(token.token for token in final.choices[0].logprobs.content).startswith("one two ")
    of_log(plain, final.id, "one two ")


async def test_an_async_chat_whole_and_streamed_is_the_logs_text(client, plain):
    whole = await client.chat.completions.create(**CHAT)
    of_log(plain, whole.id, whole.choices[0].message.content)
    chunks = [chunk async for chunk in await client.chat.completions.create(**CHAT, stream=True)]
    of_log(plain, chunks[0].id, "".join(map(said, chunks)))


def test_a_text_is_gone_on_from_whole_and_streamed(plain):
    whole = plain.completions.create(**PROMPT, logprobs=1)
    assert whole.choices[0].text == TEXT * 4
    assert "".join(whole.choices[0].logprobs.tokens) == TEXT * 4
    of_log(plain, whole.id, whole.choices[0].text)
    chunks = list(plain.completions.create(**PROMPT, stream=True))
    of_log(plain, chunks[0].id, "".join(map(said, chunks)))
    assert chunks[-1].choices[0].finish_reason == "length"


async def test_a_text_is_gone_on_from_by_the_async_client(client, plain):
    chunks = [chunk async for chunk in await client.completions.create(**PROMPT, stream=True)]
    of_log(plain, chunks[0].id, "".join(map(said, chunks)))
    whole = await client.completions.create(**PROMPT)
    of_log(plain, whole.id, whole.choices[0].text)


async def test_closing_a_stream_ends_its_response(client, plain):
    stream = await client.chat.completions.create(**(CHAT | {"max_tokens": 2_000}), stream=True)
    async for chunk in stream:
        if said(chunk):
            break
    await stream.close()
    response_id = "resp_" + chunk.id.rpartition("-")[2]
    stored = plain.responses.retrieve(response_id)
    while stored.status in ("in_progress", "queued"):
        stored = plain.responses.retrieve(response_id)
    assert stored.status == "cancelled"
    assert stored.usage.output_tokens < 2_000


def test_a_chat_that_is_cancelled_elsewhere_says_that_it_was_cut(plain):
    stream = plain.chat.completions.create(**(CHAT | {"max_tokens": 2_000}), stream=True)
    first = next(stream)
    plain.responses.cancel("resp_" + first.id.rpartition("-")[2])
    *_, last = stream
    assert last.choices[0].finish_reason == "length"


def test_a_chat_can_be_gone_on_from_if_it_was_stored(plain):
    chat = plain.chat.completions.create(**CHAT, store=True)
    answer = plain.responses.create(
        input="six seven", previous_response_id="resp_" + chat.id.rpartition("-")[2], max_output_tokens=2
    )
    listed = plain.responses.input_items.list(answer.id, order="asc")
    assert [item.content[0].text for item in listed] == [TEXT, TEXT * 4, "six seven"]
    plain.responses.delete(answer.id)
    with pytest.raises(NotFoundError):
        plain.responses.retrieve(answer.id)


@pytest.mark.parametrize(
    ("fields", "error", "param"),
    [
        ({"model": "no-such-model"}, NotFoundError, "model"),
        ({"max_tokens": 0}, BadRequestError, "max_tokens"),
        ({"n": 2}, BadRequestError, "n"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, BadRequestError, "tools"),
    ],
)
def test_a_refusal_is_the_packages_own_error(plain, fields, error, param):
    for stream in (False, True):
        with pytest.raises(error) as refused:
            plain.chat.completions.create(**(CHAT | fields), stream=stream)
        assert refused.value.param == param


def test_a_failure_in_the_stream_is_the_packages_own_error(plain):
    asked = CHAT | {"messages": [{"role": "user", "content": " "}]}
    with pytest.raises(BadRequestError):
        plain.chat.completions.create(**asked)
    with pytest.raises(APIError) as failed:
        list(plain.chat.completions.create(**asked, stream=True))
    assert not isinstance(failed.value, openai.APIStatusError)
    assert failed.value.code == "context_length_exceeded"
