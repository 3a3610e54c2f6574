"""The Redis of the manifests, with its configuration and the users of secrets.sh, as a real server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from credentials import bearer
from manifests import containers, make_secrets, named, overlay, secrets
from servers import free_port, redis_program, until, valkey_program
from stack import Stack, running_stack
from websockets.sync.client import connect

from shared.store import keys
from tokenwire.client import stream

KEY = "a-key-of-the-tester-of-users"
"""With it credentials are asked for and limits counted, as on a cluster: that needs keys of its own in Redis."""


@dataclass
class Server:
    """A server on loopback, and the passwords of its users."""

    port: int
    secret: dict[str, str]

    def url(self, user: str) -> str:
        """The URL that the Secret gives a tier, but to this server."""
        return self.secret[f"{user}-url"].replace("@redis:6379", f"@127.0.0.1:{self.port}")

    def as_health(self) -> redis.Redis:
        return redis.Redis(port=self.port, username="health", password="none")

    def as_scaler(self) -> redis.Redis:
        return redis.Redis(
            port=self.port,
            username=self.secret["scaler-username"],
            password=self.secret["scaler-password"],
        )


@pytest.fixture(scope="module", params=["redis", "valkey"])
def server(request) -> Iterator[Server]:
    program = redis_program() if request.param == "redis" else valkey_program()
    conf = named(overlay("cpu"), "ConfigMap", "redis-config")["data"]["redis.conf"]
    made = Server(free_port(), dict(secrets()["tokenwire-redis"]))
    with tempfile.TemporaryDirectory(prefix="tw-redis-") as path:
        folder = Path(path)
        # The folders are those of the container; everything else stays as it is.
        (folder / "redis.conf").write_text(conf.replace("/data", path).replace("/etc/redis/users", path))
        (folder / "users.acl").write_text(made.secret["users.acl"])
        command = ["redis-server", "redis.conf", "--port", str(made.port), "--bind", "127.0.0.1"]
        process = subprocess.Popen(command, executable=program, cwd=path, stdout=subprocess.DEVNULL)
        try:
            until(made.as_health().ping)
            yield made
        finally:
            process.terminate()
            process.wait(timeout=20)


@pytest.fixture(scope="module")
def stack(server) -> Iterator[Stack]:
    worker = {"REDIS_URL": server.url("worker"), "ECHO_RATE": "100"}
    with running_stack(server.url("gateway"), worker, key=KEY) as made:
        yield made


def test_both_tiers_do_all_they_need_as_their_users(stack):
    answer = stream(
        "one two three ", base_url=f"{stack.url}/v1", model="echo", max_output_tokens=9, api_key=KEY
    )
    assert "".join(answer) == "one two three " * 3
    stopped = stream(
        "one two three ", base_url=f"{stack.url}/v1", model="echo", max_output_tokens=4000, api_key=KEY
    )
    for _ in stopped:
        stopped.cancel()
    assert stopped.response["status"] == "cancelled"
    warnings = [line for line in stack.lines() if line["level"] != "info"]
    # Redis 7.0, which has started just now, is warned of its AOF; nothing else may be wrong.
    assert [line for line in warnings if "truncated" not in line.get("problem", "")] == []
    assert "NOPERM" not in (stack.folder / "worker.log").read_text()


@pytest.mark.parametrize("command", ["keys create alice", "keys list", "ps", "usage"])
@pytest.mark.usefixtures("stack")
def test_a_hand_in_a_gateways_pod_may_do_what_it_needs(server, command):
    # kubectl exec deployment/gateway -- tokenwire keys create alice
    done = subprocess.run(
        [sys.executable, "-m", "tokenwire", *command.split()],
        env=os.environ | {"REDIS_URL": server.url("gateway")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_the_queue_counts_what_waits_and_what_runs(stack, server):
    queue = keys.of_model(0, "echo")[0]
    scaler = server.as_scaler()
    with connect(
        f"ws://127.0.0.1:{stack.port}/v1/responses", compression=None, additional_headers=bearer(KEY)
    ) as socket:
        socket.send('{"type":"response.create","model":"echo","input":"one ","max_output_tokens":4000}')
        for _ in range(6):  # it runs: three of these are deltas
            socket.recv(timeout=20)
        assert scaler.xlen(queue) == 1
        socket.send('{"type":"response.cancel"}')
        until(lambda: scaler.xlen(queue) == 0)


@pytest.mark.parametrize("user", ["gateway", "worker"])
@pytest.mark.parametrize(
    "command", ["FLUSHALL", "KEYS *", "CONFIG SET maxmemory 0", "SHUTDOWN", "ACL LIST", "SET elsewhere 1"]
)
def test_a_tier_can_do_no_more(server, user, command):
    with redis.Redis.from_url(server.url(user)) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command.split())


@pytest.mark.parametrize("command", ["GET {p0}r:x", "XADD {p0}q:echo * a 1", "XLEN {p0}l:x", "INFO"])
def test_the_scaler_counts_queues_and_nothing_else(server, command):
    with server.as_scaler() as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command.split())


def test_who_has_no_password_may_ping_as_health_and_nothing_else(server):
    with server.as_health() as client:
        assert client.ping()
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.get("{p0}r:x")
    with redis.Redis(port=server.port) as client, pytest.raises(redis.exceptions.AuthenticationError):
        client.ping()


def test_the_probes_command_succeeds(server):
    container = containers(named(overlay("cpu"), "StatefulSet", "redis"))[0]
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        program, *arguments = container[kind]["exec"]["command"]
        command = [program, "-p", str(server.port), *arguments]
        answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20)
        assert answer.stdout == "PONG\n"


def test_new_secrets_have_new_passwords():
    one, other = make_secrets(), make_secrets()
    assert not set(re.findall(r"[0-9a-f]{64}", one.stdout)) & set(re.findall(r"[0-9a-f]{64}", other.stdout))
    assert len(set(re.findall(r"[0-9a-f]{64}", one.stdout))) == 4  # three users, and the digest of a key
    assert one.stderr.split()[-1] not in one.stdout
