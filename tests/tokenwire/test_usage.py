import asyncio
import json
from datetime import date

import pytest
from store_bench import on_server

from shared.log import Reason, escape
from shared.store.contract import Append
from shared.store.ledger import Usage
from tokenwire.__main__ import main
from tokenwire.errors import CommandError
from tokenwire.usage import as_table, days_between


async def test_the_command_prints_what_the_endings_have_entered(valkey, capsys):
    async with on_server(valkey, 4) as bench:
        worker = await bench.worker()
        for principal in ("alice", "bob"):
            await bench.submitted(principal=principal)
            claim = await bench.claimed(worker)
            upto = claim.upto + 1
            await worker.append([Append(claim.response_id, claim.epoch, upto, escape("x"), (1, 2), 7, 3)])
            await worker.finish(claim, upto, Reason.STOP)
        cancelled = await bench.submitted(principal="bob")
        await bench.gateway.cancel(cancelled.response_id, "bob")
    arguments = ["usage", "--redis-url", valkey, "--partitions", "4"]
    assert await asyncio.to_thread(main, [*arguments, "--json"]) == 0
    used = {"prompt": 7, "cached": 3, "generated": 2, "delivered": 2, "incomplete": 0, "failed": 0}
    assert json.loads(capsys.readouterr().out) == {
        "alice": used | {"responses": 1, "completed": 1, "cancelled": 0},
        "bob": used | {"responses": 2, "completed": 1, "cancelled": 1},
    }
    assert await asyncio.to_thread(main, [*arguments, "--principal", "alice"]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["principal", "responses", "prompt"]
    assert line.split() == ["alice", "1", "7", "3", "2", "2", "1", "0", "0", "0"]
    await asyncio.to_thread(main, [*arguments, "--until", "2020-01-01"])
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_columns_stand_under_their_names():
    head, *rows = as_table({"al": Usage(prompt=12345), "jwt:somebody": Usage(failed=1)}).splitlines()
    assert {row.rindex(row.split()[-1]) + len(row.split()[-1]) for row in rows} == {len(head)}


def test_days_are_those_asked_for_and_thirty_without():
    today = date(2026, 11, 25)
    assert len(days_between(None, None, today)) == 31
    assert list(days_between(date(1970, 1, 2), date(1970, 1, 4), today)) == [1, 2, 3]
    with pytest.raises(CommandError, match="no day between"):
        days_between(date(2026, 11, 26), None, today)


def test_a_store_that_is_not_there_is_said(capsys):
    assert main(["usage", "--redis-url", "redis://127.0.0.1:1"]) == 1
    assert "--redis-url" in capsys.readouterr().err


def test_a_day_that_is_none_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["usage", "--since", "yesterday"])
    assert "--since" in capsys.readouterr().err
