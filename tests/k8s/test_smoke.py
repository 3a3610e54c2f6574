"""k8s/smoke.py against a stand-in for kubectl, behind which real processes run; there is no cluster here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import runpy
import sys
from pathlib import Path

import pytest
from manifests import K8S, overlay
from pods import Pod, started

KUBECTL = '''#!{python}
"""Does to files what kubectl does to a cluster."""
import socket, sys, threading, time
from pathlib import Path

here = Path({here!r})
verb, *rest = sys.argv[3:]
with (here / "said").open("a") as said:
    said.write(" ".join([verb, *rest]) + "\\n")

def copy(one, other):
    try:
        while data := one.recv(65536):
            other.sendall(data)
    except OSError:
        pass
    for each in (one, other):
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

def forward(port):
    """To the gateway that is there now, until it is gone."""
    target = int((here / "gateway").read_text())
    server = socket.create_server(("127.0.0.1", port))
    while True:
        mine, _ = server.accept()
        try:
            theirs = socket.create_connection(("127.0.0.1", target))
        except OSError:
            sys.exit("lost connection to pod")
        threading.Thread(target=copy, args=(mine, theirs), daemon=True).start()
        threading.Thread(target=copy, args=(theirs, mine), daemon=True).start()

if verb == "rollout" and rest[0] == "restart":
    request = here / ("restart-" + rest[1].rpartition("/")[2])
    request.touch()
    while request.exists():
        time.sleep(0.05)
elif verb == "port-forward":
    forward(int(rest[-1].partition(":")[0]))
elif verb == "get":
    print("127.0.0.1", end="")
elif verb == "exec":
    sys.exit(int((here / "exec").read_text()))
'''


class Cluster:
    """A gateway and a worker that can be replaced."""

    def __init__(self, valkey: str, folder: Path, stack: contextlib.AsyncExitStack) -> None:
        self.valkey = valkey
        self.folder = folder
        self.stack = stack
        self.pods: dict[str, Pod] = {}

    async def start(self, tier: str) -> None:
        fast = {
            "gateway": {"ROUTING_SECONDS": "0.2", "DRAIN_SECONDS": "0.5"},
            "worker": {"WORKER_NAME": f"worker-{len(list(self.folder.iterdir()))}", "ECHO_RATE": "200"},
        }
        work = started(overlay("dev"), tier, self.valkey, self.folder, **fast[tier])
        pod = await self.stack.enter_async_context(work)
        if tier == "gateway":
            port = (await pod.says("listening"))["port"]
            await pod.says("ready")
            (self.folder / "gateway").write_text(str(port))
        else:
            await pod.says("ready")
        self.pods[tier] = pod

    async def obey(self) -> None:
        """Do what the stand-in asks for, until cancelled."""
        while True:
            for tier in ("gateway", "worker"):
                request = self.folder / f"restart-{tier}"
                if request.exists():
                    old = self.pods[tier]
                    await self.start(tier)
                    await old.terminated()
                    request.unlink()
            await asyncio.sleep(0.05)


@pytest.fixture
def kubectl(tmp_path) -> Path:
    """A folder with a program that is taken for kubectl."""
    program = tmp_path / "bin/kubectl"
    program.parent.mkdir()
    program.write_text(KUBECTL.format(python=sys.executable, here=str(tmp_path)))
    program.chmod(0o755)
    (tmp_path / "exec").write_text("1")  # policies are enforced
    return tmp_path


@pytest.fixture
async def cluster(valkey, kubectl):
    async with contextlib.AsyncExitStack() as stack:
        made = Cluster(valkey, kubectl, stack)
        for tier in ("worker", "gateway"):
            await made.start(tier)
        obeying = asyncio.create_task(made.obey())
        yield made
        obeying.cancel()
        await asyncio.wait([obeying])


async def smoke(folder: Path) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(K8S / "smoke.py"),
        "dev",
        env=os.environ | {"PATH": f"{folder}/bin:{os.environ['PATH']}"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 120)
    return process.returncode, said.decode()


async def test_it_replaces_both_tiers_under_an_answer_and_finds_the_same_text(cluster):
    code, said = await smoke(cluster.folder)
    assert (code, said.splitlines()[-1]) == (0, "Everything held."), said
    done = (cluster.folder / "said").read_text()
    assert f"apply -k {K8S}/overlays/dev --dry-run=server" in done
    assert "rollout restart deployment/gateway" in done
    assert "rollout restart deployment/worker" in done


@pytest.mark.parametrize(("status", "enforced"), [("1", True), ("0", False)])
def test_it_says_when_policies_are_not_enforced(kubectl, monkeypatch, status, enforced):
    (kubectl / "exec").write_text(status)
    monkeypatch.setenv("PATH", f"{kubectl}/bin", prepend=os.pathsep)
    script = runpy.run_path(str(K8S / "smoke.py"))
    with contextlib.nullcontext() if enforced else pytest.raises(script["Failed"], match="does not enforce"):
        script["policies_hold"]()
