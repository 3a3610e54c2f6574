import pytest

from gateway.auth import DEVELOPER, Doorkeeper, Knock
from gateway.errors import Code

KEEPER = Doorkeeper(origins=("https://chat.example",), dev_open=False)
OPEN = Doorkeeper(origins=(), dev_open=True)


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", "localhost"])
async def test_clients_without_a_page_come_in_through_loopback(host):
    assert await KEEPER.admit(Knock(None, host)) == DEVELOPER


@pytest.mark.parametrize(
    "host", ["evil.example:8080", "192.168.0.2", "", None, "[::1", "127.0.0.1.evil.example"]
)
async def test_a_host_that_is_not_loopback_is_refused(host):
    assert (await KEEPER.admit(Knock(None, host))).code is Code.ORIGIN_NOT_ALLOWED


async def test_the_gateways_own_page_comes_in_also_through_a_forwarded_port():
    assert await KEEPER.admit(Knock("http://localhost:9000", "localhost:9000")) == DEVELOPER


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:1",
        "null",
        "https://chat.example:444",
        "https://chat.example.evil",
        "localhost:9000",
        "",
    ],
)
async def test_another_page_is_refused(origin):
    assert (await KEEPER.admit(Knock(origin, "localhost:9000"))).code is Code.ORIGIN_NOT_ALLOWED


async def test_a_listed_page_comes_in():
    assert await KEEPER.admit(Knock("https://chat.example", "localhost:9000")) == DEVELOPER


async def test_an_open_gateway_takes_other_machines_but_no_foreign_page():
    assert await OPEN.admit(Knock(None, "chat.example")) == DEVELOPER
    assert await OPEN.admit(Knock("https://chat.example", "chat.example")) == DEVELOPER
    assert (await OPEN.admit(Knock("https://evil.example", "chat.example"))).code is Code.ORIGIN_NOT_ALLOWED
