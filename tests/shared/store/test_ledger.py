"""The books say what the logs say, whatever happened to a response."""

import random
import time
from dataclasses import asdict

import pytest
from servers import Nodes, Watched
from store_bench import LEASES, eventually, on_server

from gateway.response import snapshot
from shared.log import Kind, Reason, Status, escape, new_response_id
from shared.store.connect import connect
from shared.store.contract import Append, Followed, Refused, Tail
from shared.store.ledger import Ledger, Usage


@pytest.fixture(params=["valkey", "valkey-4", "redis7", "sentinel", "nodes-8"])
async def bench(request):
    """A store on each kind of server, with its books."""
    server, _, partitions = request.param.partition("-")
    running: str | Watched | Nodes = request.getfixturevalue(server)
    url = running if isinstance(running, str) else running.url
    async with on_server(url, int(partitions or 1)) as made:
        link = connect(url)
        made.ledger = Ledger(link, made.partitions)
        yield made
        await link.close()


async def books(bench):
    today = int(time.time()) // 86_400
    return await bench.ledger.usage([today - 1, today, today + 1])


def by_the_logs(followed):
    """Count what logs say, as the gateway counts it for its clients."""
    total: dict[str, Usage] = {}
    for log in followed:
        told = snapshot(log.entries)
        usage = total.setdefault(log.request.principal, Usage())
        usage.prompt += told.prompt_tokens
        usage.cached += told.cached_tokens
        usage.generated += told.generated_tokens
        usage.delivered += sum(len(entry.ids) for entry in log.entries if entry.kind is Kind.DELTA)
        setattr(usage, told.status.value, getattr(usage, told.status.value) + 1)
    return total


async def logs_of(bench, requests):
    logs = [await bench.gateway.follow(each.response_id, each.principal, None, -1, None) for each in requests]
    assert all(isinstance(log, Followed) and log.status.terminal for log in logs), logs
    return logs


async def say(worker, claim, *counts):
    """Append deltas of so many tokens each; return where the log then ends."""
    upto = claim.upto
    for count in counts:
        upto += 1
        prompt = (5, 2) if upto == claim.upto + 1 and not claim.attempts > 1 else (0, 0)
        ids = tuple(range(count))
        await worker.append([Append(claim.response_id, claim.epoch, upto, escape("x"), ids, *prompt)])
    return upto


async def test_a_completed_response_is_entered_with_its_tail(bench):
    request, worker = await bench.submitted(), await bench.worker()
    claim = await bench.claimed(worker)
    upto = await say(worker, claim, 1, 3, 1)
    for _ in range(3):  # a lost reply is asked again
        await worker.finish(claim, upto, Reason.STOP, tail=Tail(ids=(7, 8)))
    assert await books(bench) == {"alice": Usage(5, 2, 7, 5, completed=1)}
    assert await books(bench) == by_the_logs(await logs_of(bench, [request]))


async def test_an_answer_without_a_delta_has_its_usage_from_the_ending(bench):
    request, worker = await bench.submitted(), await bench.worker()
    claim = await bench.claimed(worker)
    await worker.finish(claim, claim.upto, Reason.STOP, tail=Tail((9,), 6, 1))
    assert await books(bench) == {"alice": Usage(6, 1, 1, 0, completed=1)}
    assert await books(bench) == by_the_logs(await logs_of(bench, [request]))


async def test_a_cancelled_response_is_entered_once_with_what_was_logged(bench):
    waiting, running = await bench.submitted(principal="bob"), None
    await bench.gateway.cancel(waiting.response_id, "bob")
    running, worker = await bench.submitted(), await bench.worker()
    claim = await bench.claimed(worker)
    upto = await say(worker, claim, 1, 1)
    for _ in range(2):
        await bench.gateway.cancel(running.response_id, "alice")
    await worker.finish(claim, upto, Reason.STOP, tail=Tail(ids=(7,)))
    assert await books(bench) == {"bob": Usage(cancelled=1), "alice": Usage(5, 2, 2, 2, cancelled=1)}
    assert await books(bench) == by_the_logs(await logs_of(bench, [waiting, running]))


async def test_a_handed_over_response_is_entered_once_with_all_its_tokens(bench):
    request, first, second = await bench.submitted(), await bench.worker("w1"), await bench.worker("w2")
    claim = await bench.claimed(first)
    await say(first, claim, 1, 1)
    again = await bench.claimed(second)
    await first.append([Append(claim.response_id, claim.epoch, claim.upto + 3, "zombie", (1,))])
    upto = await say(second, again, 2)
    await second.finish(again, upto, Reason.LENGTH)
    assert await books(bench) == {"alice": Usage(5, 2, 4, 4, incomplete=1)}
    assert await books(bench) == by_the_logs(await logs_of(bench, [request]))


async def test_an_orphan_and_a_poisoned_response_are_entered_by_whoever_ends_them(bench):
    orphan = await bench.submitted(watcher="tab", keep=0.0)
    await bench.gateway.detach(orphan.response_id, "tab")
    poison = await bench.submitted(principal="bob")
    for number in range(3):
        await bench.claimed(await bench.worker(f"w{number}"))
    last = await bench.worker("last")

    async def given_up():
        await last.claim(1, lambda: True)
        log = await bench.gateway.follow(poison.response_id, "bob", None, -1, None)
        return log.status is Status.FAILED

    await eventually(given_up)
    assert await books(bench) == {"alice": Usage(cancelled=1), "bob": Usage(failed=1)}
    assert await books(bench) == by_the_logs(await logs_of(bench, [orphan, poison]))


async def test_what_was_deleted_stays_in_the_books(bench):
    request, worker = await bench.submitted(), await bench.worker()
    await say(worker, await bench.claimed(worker), 1)
    assert await bench.gateway.delete(request.response_id, "alice")
    assert await bench.gateway.follow(request.response_id, "alice", None, -1, None) is Refused.UNKNOWN
    assert await books(bench) == {"alice": Usage(5, 2, 1, 1, cancelled=1)}


async def test_a_principal_may_have_any_name(bench):
    name = "jwt:https://issuer.example|7: ü"
    request = await bench.submitted(principal=name)
    await bench.gateway.cancel(request.response_id, name)
    assert await books(bench) == {name: Usage(cancelled=1)}


async def test_many_responses_of_many_fates_add_up_to_their_logs(bench):
    draw = random.Random(7)
    workers = [await bench.worker(f"w{number}") for number in range(3)]
    requests = []
    for _ in range(40):
        principal = draw.choice(["alice", "bob", "jwt:carol"])
        request = await bench.submitted(
            principal=principal, response_id=new_response_id(draw.randrange(bench.partitions))
        )
        requests.append(request)
        if draw.random() < 0.1:
            await bench.gateway.cancel(request.response_id, principal)
            continue
        worker = draw.choice(workers)
        claim = await bench.claimed(worker)
        upto = await say(worker, claim, *(draw.randrange(1, 4) for _ in range(draw.randrange(6))))
        if draw.random() < 0.3:
            await worker.release(claim)
            worker = draw.choice(workers)
            claim = await bench.claimed(worker)
            upto = await say(worker, claim, *(draw.randrange(1, 4) for _ in range(draw.randrange(6))))
        if draw.random() < 0.2:
            await bench.gateway.cancel(request.response_id, principal)
        else:
            reason = draw.choice([Reason.STOP, Reason.LENGTH, Reason.ERROR])
            await worker.finish(claim, upto, reason, tail=Tail(ids=tuple(range(draw.randrange(3)))))
    entered = await books(bench)
    assert entered == by_the_logs(await logs_of(bench, requests))
    assert sum(usage.responses for usage in entered.values()) == 40
    assert all(sum(asdict(usage).values()) > 0 for usage in entered.values())
    assert LEASES.lease < 1, "the hand-overs above did not wait for long"
