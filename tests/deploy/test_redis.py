"""The Redis of the compose stack, started by its own script: what its users may do, and that a restart keeps all."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest
import redis
from servers import free_port, redis_program, until, valkey_program

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def started(folder: Path, program: Path, users: str = ""):
    """Run the server as compose does, on a port of loopback; yields the port."""
    (folder / "bin").mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (folder / "bin" / "redis-server").symlink_to(program)
    script = folder / "start.sh"
    script.write_text((ROOT / "deploy/redis/start.sh").read_text())
    if users:
        script.write_text(script.read_text().replace("user default off nopass ~* &* +@all", users))
    port = free_port()
    process = subprocess.Popen(
        ["sh", script, "--port", str(port), "--bind", "127.0.0.1"],
        env={
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "REDIS_GATEWAY_PASSWORD": "for-gateways",
            "REDIS_WORKER_PASSWORD": "for workers, with $1 and 'quotes'",
            "CONFIG": str(ROOT / "deploy/redis/redis.conf"),
            "USERS": str(folder / "users.acl"),
            "DATA": str(folder),
        },
        stdout=subprocess.DEVNULL,
    )
    try:
        until(redis.Redis(port=port, username="health", password="none").ping)
        yield port
    finally:
        process.kill()
        process.wait()


def gateway(port: int) -> redis.Redis:
    return redis.Redis(port=port, username="gateway", password="for-gateways", decode_responses=True)


@pytest.fixture(params=["redis", "valkey"])
def program(request) -> Path:
    return redis_program() if request.param == "redis" else valkey_program()


BOTH = "redis.call('XADD', KEYS[1], '*', 'a', 'b'); redis.call('SET', KEYS[2], 'c'); return 1"


def test_what_a_script_wrote_is_there_after_a_restart(tmp_path, program):
    with started(tmp_path, program) as port, gateway(port) as client:
        client.eval(BOTH, 2, "{p0}l:x", "{p0}r:x")  # two writes: a transaction in the AOF
    with started(tmp_path, program) as port, gateway(port) as client:
        assert (client.xlen("{p0}l:x"), client.get("{p0}r:x")) == (1, "c")


def test_a_default_user_without_rights_would_lose_it(tmp_path):
    bare = "user default on nopass resetkeys resetchannels -@all +ping"
    with started(tmp_path, redis_program(), bare) as port, gateway(port) as client:
        client.eval(BOTH, 2, "{p0}l:x", "{p0}r:x")
    with started(tmp_path, redis_program(), bare) as port, gateway(port) as client:
        assert (client.xlen("{p0}l:x"), client.get("{p0}r:x")) == (0, None)


def test_the_default_user_is_nobody_and_passwords_may_hold_anything(tmp_path):
    with started(tmp_path, redis_program()) as port:
        with redis.Redis(port=port) as client, pytest.raises(redis.exceptions.AuthenticationError):
            client.ping()
        worker = {"username": "worker", "password": "for workers, with $1 and 'quotes'"}
        with redis.Redis(port=port, **worker) as client:
            assert client.exists("workers") == 0
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.get("ticket:x")
        assert "quotes" not in (tmp_path / "users.acl").read_text()
