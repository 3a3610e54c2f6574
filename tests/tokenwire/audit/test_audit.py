"""The audit itself, as a user runs it: forty seconds on a real fleet."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile

import psutil
import pytest
from auditing import audited
from running import running_up

from tokenwire.audit.findings import Promise
from tokenwire.audit.report import THIN

pytestmark = pytest.mark.audit


async def test_forty_seconds_of_faults_break_no_promise(tmp_path):
    report = tmp_path / "report.json"
    options = ("--seed", "1", "--minutes", "0.67", "--clients", "60", "--json", str(report))
    code, said = await audited(*options, seconds=240)
    found = json.loads(report.read_text())
    assert found["violations"] == [], said
    assert found["responses"] > 300, said
    assert code == found["code"], said
    assert code in (0, THIN), said  # a loaded machine may have had too little running; that is no violation
    assert all(promise.value in said for promise in Promise)


async def test_a_running_deployment_is_audited_without_killing_anything(free_port, tmp_path):
    report = tmp_path / "report.json"
    async with running_up(
        free_port, ENGINE="echo", CACHE_DIR=str(tmp_path), ECHO_RATE="200", SLOTS="64"
    ) as up:
        options = ("--url", up.url, "--minutes", "0.2", "--clients", "10", "--json", str(report))
        code, said = await audited(*options, seconds=120)
    found = json.loads(report.read_text())
    assert (code, found["violations"]) == (0, []), said
    assert found["responses"] > 20
    assert found["evidence"]["resumes"] > 5


async def test_what_cannot_be_run_is_one_sentence():
    code, said = await audited("--faults", "kill everybody", seconds=30)
    assert code == 2
    assert said.startswith("There is no strike 'kill everybody'; FAULTS may name: kill worker,")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
async def test_everything_dies_with_the_audit_also_what_is_frozen(monkeypatch):
    folder = tempfile.TemporaryDirectory(prefix="tw-")  # short: a socket lies in it
    monkeypatch.setenv("TMPDIR", folder.name)
    audit = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-P",
            "-m",
            "tokenwire",
            "audit",
            "--faults",
            "drop live messages",
            "--clients",
            "4",
        ),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(60):
            while len(children := psutil.Process(audit.pid).children()) < 8:  # noqa: ASYNC110 - it says nothing
                await asyncio.sleep(0.1)  # a server, five processes and two crowds
        children[1].send_signal(signal.SIGSTOP)
    finally:
        audit.kill()
        await audit.wait()
    _, left = await asyncio.to_thread(psutil.wait_procs, children, 20)
    assert left == []
    folder.cleanup()
