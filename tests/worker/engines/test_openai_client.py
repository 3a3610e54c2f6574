"""Event streams as they come from real servers: cut anywhere, with other line ends, comments, odd headers."""

from __future__ import annotations

import itertools
import json

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from upstream import Upstream, serving

from worker.engines.contract import EngineError
from worker.engines.openai.client import Client, _chunks

CHUNKS = [{"choices": [{"delta": {"content": text}}]} for text in ("a", "你好 👍🏽", "\n\n", "data: x", "é")]


def stream(end: str, before: str, space: str) -> bytes:
    """Write the chunks as a server does, with a comment and fields of other names between them."""
    events = [json.dumps(chunk, ensure_ascii=False) for chunk in CHUNKS] + ["[DONE]"]
    lines = [f"{before}data:{space}{event}{end}{end}" for event in events]
    return "".join(lines).encode()


async def read(raw: bytes, cuts: list[int], kind: str = "text/event-stream") -> list[object]:
    borders = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]

    async def parts():
        for begin, end in itertools.pairwise(borders):
            yield raw[begin:end]

    answer = httpx2.Response(
        200, headers={"Content-Type": kind}, content=parts(), request=httpx2.Request("POST", "http://a")
    )
    return [chunk async for chunk in _chunks(answer)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@given(
    cuts=st.lists(st.integers(0, 400), max_size=12),
    before=st.sampled_from(["", ": ping\n", ":\n\n", "event: message\nid: 7\nretry: 3\n"]),
    space=st.sampled_from(["", " "]),
)
async def test_a_stream_reads_alike_however_it_is_cut_and_written(end, cuts, before, space):
    assert await read(stream(end, before, space), cuts) == [*CHUNKS, None]


async def test_a_stream_is_utf8_whatever_its_header_says():
    assert await read(stream("\n", "", " "), [], "text/event-stream; charset=iso-8859-1") == [*CHUNKS, None]


@pytest.mark.parametrize("key", ["kéy", "key\n", "k\x00y"])
def test_a_key_that_no_header_may_hold_is_said_without_it(key):
    with pytest.raises(EngineError, match="UPSTREAM_KEY") as refused:
        Client(key, 1.0)
    assert key.strip() not in str(refused.value)


async def test_a_stream_is_not_asked_for_in_compressed_form():
    async with serving(Upstream()) as upstream:
        client = Client("", 5.0)
        body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1, "stream_options": {}}
        async with client.ask(upstream.url, body) as chunks:
            said = [chunk async for chunk in chunks]
        await client.close()
    assert said[-1] is None
    assert upstream.asked[0].headers["accept-encoding"] == "identity"
