"""What only the worker's verbs on a server can get wrong: what they make anew for every token."""

from __future__ import annotations

from collections import Counter

from store_bench import on_server

from shared.store import keys
from shared.store.contract import Append, AppendReply


async def test_the_names_of_a_response_are_not_made_anew_for_each_of_its_tokens(valkey, monkeypatch):
    made: Counter[str] = Counter()
    of_response = keys.of_response

    def counted(response_id):
        made[response_id] += 1
        return of_response(response_id)

    async with on_server(valkey, 4) as bench:
        requests = [await bench.submitted() for _ in range(8)]
        with monkeypatch.context() as patch:
            patch.setattr(keys, "of_response", counted)
            worker = await bench.worker()
        claims = await worker.claim(8, lambda: True)
        made.clear()
        for step in range(5):
            batch = [Append(c.response_id, c.epoch, c.upto + 1 + step, "a ", (step,)) for c in claims]
            assert set(await worker.append(batch)) <= {AppendReply.OK, AppendReply.UNWATCHED}
    assert made == {request.response_id: 1 for request in requests}
