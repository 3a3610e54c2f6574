"""What only queues on a server can get wrong: how many round trips taking a whole load takes."""

from __future__ import annotations

from store_bench import on_server

from shared.store.link import Link


async def test_a_whole_workers_load_is_claimed_in_a_few_round_trips(valkey, monkeypatch):
    rounds = []
    one_round = Link._round

    async def counted(self, calls):
        rounds.append(len(calls))
        await one_round(self, calls)

    async with on_server(valkey, 1) as bench:
        requests = [await bench.submitted(keep=-1) for _ in range(40)]
        worker, heir = await bench.worker("worker"), await bench.worker("heir")
        for claim in await worker.claim(40, lambda: True):
            await worker.release(claim)
        monkeypatch.setattr(Link, "_round", counted)
        claims = await heir.claim(40, lambda: True)
    assert {claim.response_id for claim in claims} == {request.response_id for request in requests}
    assert len(rounds) < 10, rounds
