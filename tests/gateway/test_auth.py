import pytest

from gateway.auth import PRINCIPAL, Doorkeeper
from gateway.errors import Code

KEEPER = Doorkeeper(origins=("https://chat.example",), dev_open=False)
OPEN = Doorkeeper(origins=(), dev_open=True)


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", "localhost"])
def test_clients_without_a_page_come_in_through_loopback(host):
    assert KEEPER.admit(None, host) == PRINCIPAL


@pytest.mark.parametrize(
    "host", ["evil.example:8080", "192.168.0.2", "", None, "[::1", "127.0.0.1.evil.example"]
)
def test_a_host_that_is_not_loopback_is_refused(host):
    assert KEEPER.admit(None, host).code is Code.ORIGIN_NOT_ALLOWED


def test_the_gateways_own_page_comes_in_also_through_a_forwarded_port():
    assert KEEPER.admit("http://localhost:9000", "localhost:9000") == PRINCIPAL


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
def test_another_page_is_refused(origin):
    assert KEEPER.admit(origin, "localhost:9000").code is Code.ORIGIN_NOT_ALLOWED


def test_a_listed_page_comes_in():
    assert KEEPER.admit("https://chat.example", "localhost:9000") == PRINCIPAL


def test_an_open_gateway_takes_other_machines_but_no_foreign_page():
    assert OPEN.admit(None, "chat.example") == PRINCIPAL
    assert OPEN.admit("https://chat.example", "chat.example") == PRINCIPAL
    assert OPEN.admit("https://evil.example", "chat.example").code is Code.ORIGIN_NOT_ALLOWED
