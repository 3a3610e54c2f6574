"""One response through all tiers: its log lines under one id, and its spans in one trace."""

from __future__ import annotations

import asyncio

import pytest
from collector import attributes, collecting
from servers import until
from watched import asked, events, one_life, watched

from shared.store.link import Link
from shared.trace import Context, span_of_claim

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
OTHER = "5bf92f3577b34da6a3ce929d0e0e4736"
SECRET = "tangerine"


@pytest.fixture
async def empty(valkey: str) -> str:
    link = Link.to(valkey)
    await link.command("FLUSHALL")
    await link.close()
    return valkey


async def a_life_with_a_hand_over_and_a_resume(fleet) -> str:
    """Ask with one trace, drain the worker in mid-answer, lose the socket, and resume with another trace."""
    headers = {"traceparent": f"00-{TRACE}-{SPAN}-01", "authorization": "Bearer sesame-street"}
    async with fleet.socket(0, additional_headers=headers) as connection:
        first = await asked(connection, f"{SECRET} two three ", max_output_tokens=500)
        response_id = first["response"]["id"]
        seen = await events(connection, deltas=20)
        owner = next(worker for worker in fleet.workers if worker.lines(response_id))
        owner.process.terminate()  # it hands over at once; the answer does not wait for its end
        seen += await events(connection, deltas=20)
        connection.transport.abort()
    query = f"?response_id={response_id}&starting_after={seen[-1]['sequence_number']}"
    other = {"traceparent": f"00-{OTHER}-{SPAN}-01"}
    async with fleet.socket(1, query, additional_headers=other) as connection:
        assert (await events(connection))[-1]["type"] == "response.incomplete"
    return response_id


async def test_one_response_is_followed_through_all_tiers_by_its_id_and_its_trace(empty):
    with collecting() as collected:
        settings = {"ECHO_RATE": "50", "LEASE_SECONDS": "5"}  # nothing but the drain hands over
        async with watched(empty, OTEL_EXPORTER_OTLP_ENDPOINT=collected.url, **settings) as fleet:
            response_id = await a_life_with_a_hand_over_and_a_resume(fleet)
            until(lambda: any(line["event"] == "finished" for line in one_life(fleet.workers, response_id)))
            life = one_life(fleet.members, response_id)
            logged = "".join(member.log.read_text() for member in fleet.members)
            epochs = [line["epoch"] for line in life if line["event"] == "claimed"]
            for member in fleet.members:
                await asyncio.to_thread(member.drain)  # what has not been sent is sent now

    # Every line of the life names the response and the asker's trace.
    assert {line["trace_id"] for line in life} == {TRACE}
    assert {line["tier"] for line in life} == {"gateway", "worker"}
    told = [(line["tier"], line["event"]) for line in life]
    for earlier, later in (
        (("gateway", "accepted"), ("worker", "first_append")),
        (("worker", "claimed"), ("worker", "first_append")),
        (("worker", "first_append"), ("worker", "released")),
        (("gateway", "first_token"), ("gateway", "left")),
        (("worker", "released"), ("worker", "finished")),
        (("gateway", "left"), ("gateway", "resumed")),
    ):
        assert told.index(earlier) < told.index(later), told
    assert [line["hand_over"] for line in life if line["event"] == "claimed"] == [False, True]

    # Nobody's words or keys are in any log.
    assert SECRET not in logged
    assert "sesame" not in logged

    # The spans hang together: the response below the asker's span, the claims below it, the second one linked to
    # the first, and the resume, in a trace of its own, linked to the response.
    (response,) = collected.named("response", TRACE)
    assert response.parent_span_id.hex() == SPAN
    assert attributes(response)["tokenwire.status"] == "left"
    for name in ("submit", "relay", "queue"):
        (span,) = collected.named(name, TRACE)
        assert span.parent_span_id == response.span_id, name
    first, second = collected.named("compute", TRACE)
    context = Context(TRACE, SPAN)
    assert [first.span_id.hex(), second.span_id.hex()] == [
        span_of_claim(context, response_id, epoch).span_id for epoch in epochs
    ]
    assert [each.parent_span_id for each in (first, second)] == [response.span_id] * 2
    assert not first.links
    assert [link.span_id for link in second.links] == [first.span_id]
    assert attributes(first)["tokenwire.status"] == "released"
    assert attributes(second)["tokenwire.generated_tokens"] == 500
    for name in ("prefill", "decode"):
        spans = collected.named(name, TRACE)
        assert [span.parent_span_id for span in spans] == [first.span_id, second.span_id], name
    (resume,) = collected.named("resume", OTHER)
    assert resume.parent_span_id.hex() == SPAN
    assert [(link.trace_id.hex(), link.span_id) for link in resume.links] == [(TRACE, response.span_id)]
    assert {service for service, _ in collected.spans} == {"tokenwire-gateway", "tokenwire-worker"}
