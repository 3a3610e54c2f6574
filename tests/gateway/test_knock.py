import pytest

from gateway.knock import Knock, client_address, networks, read_knock

TRUSTED = networks(["10.0.0.0/8", "fd00::/8"])


def knock(*headers, peer="203.0.113.9", ticket=None):
    def values(name):
        return [value for other, value in headers if other.lower() == name.lower()]

    return read_knock(values, peer, TRUSTED, ticket)


@pytest.mark.parametrize(
    ("header", "bearer"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Basic abc", ""),
        ("Bearer", ""),
        ("abc", ""),
    ],
)
def test_a_bearer_credential_is_read_and_any_other_form_is_a_wrong_one(header, bearer):
    assert knock(("Authorization", header)).bearer == bearer


def test_what_is_not_there_is_none():
    assert knock() == Knock(address="203.0.113.9")


@pytest.mark.parametrize("name", ["Authorization", "Host", "Origin"])
def test_a_header_that_stands_twice_is_noticed(name):
    assert knock((name, "a"), (name, "b")).doubled == name


def test_a_ticket_is_found_among_the_subprotocols_before_the_query():
    offered = ("Sec-WebSocket-Protocol", "tokenwire.v1, tokenwire.ticket.T-1")
    assert knock(offered).ticket == "T-1"
    assert knock(offered, ticket="Q").ticket == "T-1"
    assert knock(("Sec-WebSocket-Protocol", "tokenwire.v1"), ticket="Q").ticket == "Q"


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),  # nobody trusts this peer
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6", "198.51.100.1"], "198.51.100.1"),  # the client made the left one up
        ("10.0.0.1", ["6.6.6.6", "198.51.100.1", "10.0.0.2"], "198.51.100.1"),  # two proxies
        ("10.0.0.1", ["10.0.0.3", "10.0.0.2"], "10.0.0.3"),  # a client inside
        ("10.0.0.1", ["198.51.100.1", "unknown"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("fd00::1", ["[2001:db8::1]"], "2001:db8::1"),
        ("", ["198.51.100.1"], ""),  # a unix socket
    ],
)
def test_the_client_is_the_nearest_address_that_is_no_trusted_proxys(peer, forwarded, address):
    assert client_address(peer, forwarded, TRUSTED) == address


def test_several_header_lines_are_read_as_one_list():
    lines = [("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "198.51.100.1")]
    assert knock(*lines, peer="10.0.0.1").address == "198.51.100.1"


@pytest.mark.parametrize(
    ("peer", "scheme", "secure"),
    [
        ("10.0.0.1", "https", True),
        ("10.0.0.1", "WSS", True),
        ("10.0.0.1", "http", False),
        ("10.0.0.1", "https, http", False),
        ("203.0.113.9", "https", False),
    ],
)
def test_only_a_trusted_proxy_says_that_it_came_by_tls(peer, scheme, secure):
    assert knock(("X-Forwarded-Proto", scheme), peer=peer).secure is secure
