"""`tokenwire top`, `ps`, `stop` and `tail` as processes beside a real fleet."""

from __future__ import annotations

import asyncio
import json
import signal
import sys

import pytest
from watched import asked, events, watched

from shared.store.link import Link

NOBODY = "resp_000" + "0" * 32


@pytest.fixture
async def fleet(valkey: str):
    link = Link.to(valkey)
    await link.command("FLUSHALL")
    await link.close()
    # Long answers and leases: every command is a process of its own, which takes seconds to start on a busy machine.
    async with watched(valkey, ECHO_RATE="50", LEASE_SECONDS="5") as made:
        yield made


async def command(fleet, *arguments: str, stop_after: float | None = None) -> tuple[int, str, str]:
    """Run `tokenwire` and return code, output and errors."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tokenwire", *arguments, "--redis-url", fleet.redis_url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    if stop_after is not None:
        assert process.stdout is not None
        await process.stdout.readline()
        process.send_signal(signal.SIGINT)
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_what_runs_is_listed_watched_and_stopped_by_its_id(fleet):
    async with fleet.socket(0) as connection, fleet.socket(1) as other:
        mine = (await asked(connection, max_output_tokens=3000))["response"]["id"]
        await asked(other, max_output_tokens=3000)
        await events(connection, deltas=5)
        code, out, _ = await command(fleet, "ps", "--json")
        rows = {row["response_id"]: row for row in map(json.loads, out.splitlines())}
        assert (code, len(rows)) == (0, 2)
        row = rows[mine]
        assert (row["status"], row["model"], row["viewers"], row["attempts"]) == ("running", "echo", 1, 1)
        assert row["worker"]
        assert row["events"] > 4
        code, table, _ = await command(fleet, "ps")
        assert len(table.splitlines()) == 3
        assert mine in table

        tailing = asyncio.create_task(command(fleet, "tail", mine))
        watching = asyncio.create_task(command(fleet, "top", "--once", "--json"))
        code, out, _ = await watching
        shown = json.loads(out)
        assert code == 0
        assert [row["state"] for row in shown["gateways"] + shown["workers"]] == ["ready"] * 4
        assert sum(row["sockets"] for row in shown["gateways"]) == 2
        assert (shown["running"], shown["slots"], shown["waiting"]) == (2, 16, {"echo": 0})
        assert shown["tokens_per_second"] > 20
        assert shown["latencies"]["between_tokens_p50"] > 0

        assert await command(fleet, "stop", mine) == (0, f"stopped {mine}\n", "")
        ended = (await events(connection))[-1]["response"]
        assert ended["status"] == "cancelled"
        code, text, status = await tailing
        assert (code, status) == (0, "cancelled\n")
        assert text.strip() == ended["output"][0]["content"][0]["text"].strip()
        code, _, problem = await command(fleet, "stop", mine)
        assert (code, problem) == (1, f"{mine} has ended before: cancelled.\n")


async def test_a_page_of_everything_and_a_stream_of_figures(fleet):
    code, out, err = await command(fleet, "top", "--once")
    assert (code, err) == (0, "")
    assert "GATEWAY" in out
    assert out.count("ready") == 4
    code, out, err = await command(fleet, "top", "--json", stop_after=1)
    assert code == 0, err
    assert all(json.loads(line)["slots"] == 16 for line in out.splitlines())


async def test_what_is_not_there_is_said_in_a_sentence(fleet):
    for verb in ("stop", "tail"):
        code, _, problem = await command(fleet, verb, NOBODY)
        assert (code, problem) == (
            1,
            f"There is no response {NOBODY}: it never was, or its log has expired.\n",
        )
        code, _, problem = await command(fleet, verb, "nonsense")
        assert code == 2
        assert "tokenwire ps" in problem
    fleet.redis_url = "redis://127.0.0.1:1"
    for arguments in (["ps"], ["top", "--once"], ["stop", NOBODY]):
        code, _, problem = await command(fleet, *arguments)
        assert code == 1
        assert "--redis-url" in problem
