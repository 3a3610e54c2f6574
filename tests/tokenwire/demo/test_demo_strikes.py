import signal
from dataclasses import dataclass, field

import pytest

from tokenwire.demo.strikes import Strikes
from tokenwire.plan import Role

PAGE = "# TYPE tokenwire_{gauge} gauge\ntokenwire_{gauge} {value}\n"


@dataclass
class Member:
    """A process of which it is written down what it was sent."""

    name: str
    probe_port: int | None = None
    pid: int = 7
    sent: list = field(default_factory=list)

    def send(self, number):
        self.sent.append(number)


class Fleet:
    def __init__(self, **members):
        self._members = members

    def members(self, role):
        return self._members.get(role.value, [])


def striking(loads, **members):
    async def read(port):
        if port not in loads:
            raise ConnectionRefusedError
        return loads[port]

    return Strikes(Fleet(**members), read)


@pytest.mark.parametrize(
    ("fault", "role", "gauge"),
    [
        ("kill-worker", Role.WORKER, "engine_sequences_running"),
        ("kill-gateway", Role.GATEWAY, "connections"),
    ],
)
async def test_the_process_with_the_most_to_do_is_killed(fault, role, gauge):
    idle, busy, dead = Member("idle", 1), Member("busy", 2), Member("dead", 3)
    loads = {1: PAGE.format(gauge=gauge, value=0), 2: PAGE.format(gauge=gauge, value=1)}
    strikes = striking(loads, **{role.value: [idle, busy, dead]})
    assert await strikes.strike(fault) == "busy (process 7) killed"
    assert (idle.sent, busy.sent, dead.sent) == ([], [signal.SIGKILL], [])


async def test_redis_is_frozen_and_thawed(monkeypatch):
    monkeypatch.setattr("tokenwire.demo.strikes.FREEZE_SECONDS", 0.01)
    server = Member("valkey")
    assert await striking({}, valkey=[server]).strike("freeze-redis") == "Redis was frozen for 0.01 s"
    assert server.sent == [signal.SIGSTOP, signal.SIGCONT]


async def test_other_buttons_do_not_exist():
    assert await striking({}).strike("launch-missiles") is None
