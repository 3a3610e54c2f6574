"""`tokenwire doctor` through real proxies, each with one fault: it is named, and nothing else is."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest
from hops import Hop, in_front
from stack import running_stack

from tokenwire.doctor.command import diagnose, tell
from tokenwire.doctor.findings import Verdict
from tokenwire.doctor.settings import DoctorSettings


@pytest.fixture(scope="module")
def stack(valkey):
    with running_stack(valkey, {"ECHO_RATE": "60"}) as made:
        yield made


def settings(**changes):
    return DoctorSettings(**({"idle_seconds": 0.5, "answer_tokens": 60} | changes))


async def problems(url, **changes):
    found = await diagnose(url, settings(**changes))
    return {each.check: each.sentence for each in found if each.verdict is Verdict.PROBLEM}, found


async def test_without_anything_between_all_is_well(stack):
    found, every = await problems(stack.url)
    assert found == {}
    sentences = " ".join(each.sentence for each in every)
    for said in (
        "directly",
        "Streams are not compressed",
        "A WebSocket can be opened",
        "60 deltas",
        "A Stop shows",
    ):
        assert said in sentences


async def test_a_proxy_that_is_as_it_should_be_is_told_of_and_not_blamed(stack):
    async with in_front(stack.port, Hop()) as url:
        found, every = await problems(url)
    assert found == {}
    assert "reached through what stands in front of the gateway (testproxy/1.0)" in every[0].sentence


FAULTS = {
    "buffers": (
        Hop(holds=0.7),
        {"sse pace", "a socket answer", "server-sent events answer", "stop"},
        "proxy_buffering off",
    ),
    "compresses streams": (Hop(packs=True), {"sse compression"}, "gzip_types"),
    "compresses sockets": (Hop(deflates=True), {"socket compression"}, "permessage-deflate off"),
    "lacks upgrade headers": (Hop(upgrades=False), {"socket"}, "proxy_set_header Upgrade"),
    "cuts idle sockets": (Hop(idle=0.8), {"idle"}, "proxy_read_timeout"),
    "strips Origin": (Hop(drops=("origin",)), {"origin"}, "pass it on as it is"),
    "strips X-Forwarded": (Hop(forwards=False), {"forwarded"}, "X-Forwarded-For $proxy_add_x_forwarded_for"),
    "changes Host": (Hop(host="127.0.0.1:1"), {"way"}, "proxy_set_header Host"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_proxy_that_does_it_wrong_is_named_with_what_to_set(stack, fault):
    hop, checks, advice = FAULTS[fault]
    async with in_front(stack.port, hop) as url:
        found, _ = await problems(url, direct=stack.url, idle_seconds=3.0 if hop.idle else 0.3)
    named = set(found)
    assert named <= checks, found
    assert named & checks, found
    assert any(advice in sentence for sentence in found.values()), found
    assert all("it is the proxy's doing" in sentence for sentence in found.values()), found


async def test_what_is_wrong_directly_too_is_not_blamed_on_the_proxy(stack):
    async with in_front(stack.port, Hop(drops=("origin",))) as url:
        found, _ = await problems(url, direct=url)
    assert "It is so directly, too" in found["origin"]


async def test_the_store_and_those_who_announce_themselves_are_looked_at(stack):
    found, every = await problems(stack.url, redis_url=stack.redis_url)
    said = {each.check: each for each in every}
    assert found == {}
    assert said["store"].verdict is Verdict.NOTE  # the test's server keeps nothing on disk
    assert "appendonly yes" in said["store"].sentence
    assert said["clock"].verdict is Verdict.OK
    assert "echo: 1 workers, 64 slots" in said["workers"].sentence
    assert "1 gateways are alive" in said["gateways"].sentence


async def test_nothing_there_is_a_sentence_too():
    found, _ = await problems("http://127.0.0.1:1", redis_url="redis://127.0.0.1:1")
    assert "is the address right?" in found["way"]
    assert "Is REDIS_URL the one" in found["store"]


async def command(*arguments):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tokenwire", "doctor", *arguments, "--idle-seconds", "0.1"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_the_command_says_by_its_exit_code_whether_anything_is_to_be_changed(stack):
    code, out, err = await command(stack.url, "--json")
    told = json.loads(out)
    assert (code, err, told["healthy"]) == (0, "", True)
    assert {each["verdict"] for each in told["findings"]} == {"ok"}
    async with in_front(stack.port, Hop(upgrades=False)) as url:
        code, out, _ = await command(url)
    assert code == 1
    assert out.splitlines()[-1].startswith("PROBLEM  Something on the way lacks the upgrade headers")
    code, _, err = await command("chat.example.com")
    assert (code, err) == (2, "chat.example.com is no address: it begins with http:// or https://.\n")


def test_problems_are_told_last(capsys):
    from tokenwire.doctor.findings import Finding  # noqa: PLC0415 - only here

    tell([Finding("a", Verdict.PROBLEM, "Bad."), Finding("b", Verdict.OK, "Good.")], as_json=False)
    assert capsys.readouterr().out == "ok       Good.\nPROBLEM  Bad.\n"
