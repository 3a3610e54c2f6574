"""The official openai package for Python, unchanged, sync and async, against real processes."""

import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError, OpenAI

# The package opens websockets' sync client without a with block, which that one is about to forbid.
pytestmark = pytest.mark.filterwarnings(
    "ignore:connect.. must be used as a context manager:DeprecationWarning"
)

TEXT = "one two three four five "
ASK = {"input": TEXT, "max_output_tokens": 20, "temperature": 0}
CREATE = {"type": "response.create", **ASK}
TERMINAL = ("response.completed", "response.incomplete", "response.failed")


@pytest.fixture
async def client(stack):
    async with AsyncOpenAI(base_url=f"{stack.url}/v1", api_key="any", max_retries=0) as made:
        yield made


@pytest.fixture
def plain(stack):
    with OpenAI(base_url=f"{stack.url}/v1", api_key="any", max_retries=0) as made:
        yield made


def text_of(events):
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def of_log(plain, events):
    stored = plain.responses.retrieve(events[-1].response.id)
    assert stored.output_text == text_of(events)
    return stored


def until_the_end(connection, act=lambda _: None):
    events = []
    for event in connection:
        events.append(event)
        act(event)
        if event.type in (*TERMINAL, "error"):
            return events
    pytest.fail("the socket ended before the response")


def test_the_sync_connection_streams_the_logs_text(plain):
    with plain.responses.connect() as connection:
        connection.send(CREATE)
        events = until_the_end(connection)
    assert of_log(plain, events).output_text == TEXT * 4


def test_the_sync_connection_cancels(plain):
    with plain.responses.connect() as connection:
        connection.send(CREATE | {"max_output_tokens": 2_000})

        def act(event):
            if event.type == "response.output_text.delta":
                connection.send({"type": "response.cancel"})

        events = until_the_end(connection, act)
        if events[-1].type == "error":  # a second cancel came after the ending had been written
            events = [*events[:-1], *until_the_end(connection)]
    assert events[-1].response.status == "cancelled"
    of_log(plain, events)


def test_a_cut_is_bridged_by_the_sync_connection_itself(plain):
    seen = []

    def on_reconnecting(_):
        query = {"response_id": seen[0].response.id, "starting_after": str(seen[-1].sequence_number)}
        return {"extra_query": query}

    def act(event):
        seen.append(event)
        if len(seen) == 6:
            connection._connection.socket.shutdown(2)

    with plain.responses.connect(on_reconnecting=on_reconnecting, initial_delay=0.01) as connection:
        connection.send(CREATE | {"max_output_tokens": 60})
        events = until_the_end(connection, act)
    assert of_log(plain, events).output_text == TEXT * 12
    numbers = [getattr(event, "first_sequence_number", event.sequence_number) for event in events]
    assert numbers == [0, *(event.sequence_number + 1 for event in events[:-1])]


SCORED = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}


def logprobs_of(events):
    """Token and logprobs of every delta."""
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    return [
        (each.token, each.logprob, [(other.token, other.logprob) for other in each.top_logprobs])
        for delta in deltas
        for each in delta.logprobs
    ]


def part_logprobs(response):
    (part,) = response.output[0].content
    return [
        (each.token, each.logprob, [(other.token, other.logprob) for other in each.top_logprobs])
        for each in part.logprobs
    ]


def test_logprobs_are_the_same_live_after_a_resume_in_a_replay_and_at_the_end(plain):
    with plain.responses.connect() as connection:
        connection.send(CREATE | SCORED)
        live = until_the_end(connection)
    response = live[-1].response
    told = part_logprobs(response)
    words = TEXT.split()
    assert [token for token, _, _ in told] == [f"{words[n % 5]} " for n in range(20)]
    assert told[1] == ("two ", -0.25, [("two ", -0.25), ("three ", -1.25)])
    assert logprobs_of(live) == told
    replayed = list(plain.responses.retrieve(response.id, stream=True))
    assert logprobs_of(replayed) == told
    for after in (4, 5, len(replayed) - 5):
        query = {"response_id": response.id, "starting_after": str(after)}
        with plain.responses.connect(extra_query=query) as connection:
            rest = until_the_end(connection)
        assert logprobs_of(rest) == logprobs_of(replayed[after + 1 :])
    assert part_logprobs(plain.responses.retrieve(response.id)) == told
    assert part_logprobs(plain.responses.create(**ASK, **SCORED)) == told
    with plain.responses.stream(model="echo", **ASK, **SCORED, extra_body={"stop": "four"}) as stream:
        stopped = part_logprobs(stream.get_final_response())
    assert stopped == told[: len(stopped)]
    assert len(stopped) in (3, 4)  # a token that a stop string took may be told of
    assert part_logprobs(plain.responses.create(**ASK)) == []


def test_a_refusal_on_the_sync_connection_is_an_error_event(plain):
    with plain.responses.connect() as connection:
        connection.send(CREATE | {"max_output_tokens": 0})
        (error,) = until_the_end(connection)
    assert error.error.code == "invalid_request"


def test_json_stream_background_and_errors_of_the_sync_client(plain):
    whole = plain.responses.create(**ASK)
    assert whole.output_text == TEXT * 4
    events = list(plain.responses.create(**ASK, stream=True))
    of_log(plain, events)
    with plain.responses.stream(model="echo", **ASK) as stream:
        for _ in stream:
            pass
    queued = plain.responses.create(**ASK, background=True)
    replayed = list(plain.responses.retrieve(queued.id, stream=True))
    of_log(plain, replayed)
    assert plain.responses.cancel(queued.id).id == queued.id
    with pytest.raises(NotFoundError):
        plain.responses.retrieve("resp_nobody")
    with pytest.raises(BadRequestError) as refused:
        plain.responses.create(input=TEXT, max_output_tokens=0)
    assert refused.value.param == "max_output_tokens"


async def test_lanes_of_the_async_connection_run_beside_each_other(client):
    async with client.responses.connect() as connection:
        for lane in ("a", "b", "c"):
            await connection.send(CREATE | {"stream_id": lane})
        events = {"a": [], "b": [], "c": []}
        async for event in connection:
            events[event.stream_id].append(event)
            if all(lane and lane[-1].type in TERMINAL for lane in events.values()):
                break
    for lane in events.values():
        assert text_of(lane) == TEXT * 4


async def test_the_async_stream_helper_replays_a_background_response(client):
    queued = await client.responses.create(**ASK, background=True, extra_body={"stop": "four"})
    async with client.responses.stream(response_id=queued.id, starting_after=4) as stream:
        numbers = [event.sequence_number async for event in stream]
        final = await stream.get_final_response()
    assert numbers[0] == 5
    assert final.output_text == "one two three "


async def test_a_background_response_is_cancelled_by_the_async_client(client):
    queued = await client.responses.create(input=TEXT, max_output_tokens=2_000, background=True)
    assert (await client.responses.cancel(queued.id)).status == "cancelled"
