async def test_the_life_of_a_response_is_logged_without_its_words(bench):
    async with bench.client() as client:
        await client.create("secret question")
        claim = await bench.hand.answer("secret answer")
        await client.until("response.completed")
    for event in ("accepted", "started", "first_token", "ended"):
        (line,) = bench.lines(event)
        assert line["response_id"] == claim.response_id
    assert bench.lines("ended")[0]["generated_tokens"] == 1
    assert "secret" not in bench.logged.getvalue()
    assert bench.metric("requests_total", outcome="completed") == 1
    assert bench.metric("time_to_first_token_seconds_count") == 1
    assert bench.metric("queue_time_seconds_count") == 1


async def test_gaps_between_live_deltas_are_measured_once_per_gap(bench):
    async with bench.client() as client:
        await client.create()
        claim = await bench.hand.claim()
        await client.until("response.content_part.added")
        await bench.hand.say(claim, *"abcde")
        await bench.hand.finish(claim)
        await client.until("response.completed")
    assert bench.metric("inter_token_latency_seconds_count") == 4
