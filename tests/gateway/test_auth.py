import io
import json

import pytest
from credentials import make_key, token

from gateway.auth import DEVELOPER, TICKET_SECONDS, Gate, LockedDoor, OpenDoor
from gateway.errors import Code
from gateway.key_ring import KeyRing, StaticKeys
from gateway.knock import Knock
from gateway.principal import Credential, Principal
from gateway.throttle import Throttle
from shared.observe import make_logger
from shared.quota import Quota
from shared.store.contract import StoreUnavailable

GATE = Gate(origins=("https://chat.example",))
KEEPER = OpenDoor(GATE)
OPEN = OpenDoor(Gate(), dev_open=True)


# ---- development mode


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


FOREIGN = [
    "http://localhost:1",
    "null",
    "https://chat.example:444",
    "https://chat.example.evil",
    "https://chat.example/",
    "http://chat.example",
    "https://CHAT.example",
    "localhost:9000",
    "",
]


@pytest.mark.parametrize("origin", FOREIGN)
async def test_another_page_is_refused(origin):
    assert (await KEEPER.admit(Knock(origin, "localhost:9000"))).code is Code.ORIGIN_NOT_ALLOWED


async def test_a_listed_page_comes_in():
    assert await KEEPER.admit(Knock("https://chat.example", "localhost:9000")) == DEVELOPER


async def test_an_open_gateway_takes_other_machines_but_no_foreign_page():
    assert await OPEN.admit(Knock(None, "chat.example")) == DEVELOPER
    assert await OPEN.admit(Knock("https://chat.example", "chat.example")) == DEVELOPER
    foreign = await OPEN.admit(Knock("https://evil.example", "chat.example"))
    assert foreign.code is Code.ORIGIN_NOT_ALLOWED


# ---- with credentials


class Away:
    """A store that does not answer."""

    def __getattr__(self, name):
        async def verb(*_):
            raise StoreUnavailable(name)

        return verb


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def locked(access, *, gate=GATE, static=(), most=3, clock=None):
    clock = clock or Clock()
    quota = Quota(sockets=5)
    keys = KeyRing(access, StaticKeys(static, None, quota), quota, clock=clock, wall=lambda: 1000.0)
    log = make_logger("gateway", io.StringIO())
    return LockedDoor(gate, access, Throttle(most), keys=keys, tokens=None, clock=clock, log=log)


async def test_a_key_makes_its_name_the_principal(access):
    key = await make_key(access, "alice")
    admitted = await locked(access).admit(Knock(bearer=key.text, address="198.51.100.1"))
    assert admitted == Principal("alice", Credential.KEY, key.id, None, Quota(sockets=5), "198.51.100.1")


async def test_no_credential_and_a_wrong_one_are_refused_alike(access):
    key = await make_key(access, "alice")
    for bearer in (None, "", "abc", key.text[:-1] + ("a" if key.text[-1] != "a" else "b")):
        refused = await locked(access).admit(Knock(bearer=bearer))
        assert (refused.code, refused.status) == (Code.INVALID_API_KEY, 401)
        assert refused.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("origin", FOREIGN)
async def test_a_foreign_page_is_refused_whatever_it_shows(access, origin):
    key = await make_key(access, "alice")
    refused = await locked(access).admit(Knock(origin, "localhost:9000", key.text))
    assert (refused.code, refused.status) == (Code.ORIGIN_NOT_ALLOWED, 403)


async def test_without_an_origin_only_a_bearer_credential_comes_in(access):
    key, door = await make_key(access, "alice"), locked(access)
    alice = await door.admit(Knock(bearer=key.text))
    assert isinstance(alice, Principal)
    await door.issue(alice, "T", None)
    assert (await door.admit(Knock(ticket="T"))).code is Code.ORIGIN_NOT_ALLOWED
    assert (await door.admit(Knock())).code is Code.INVALID_API_KEY


async def test_a_ticket_lets_its_principal_in_once_and_for_its_page_only(access):
    key, door = await make_key(access, "alice", quota=Quota(sockets=2)), locked(access)
    alice = await door.admit(Knock(bearer=key.text))
    await door.issue(alice, "T", "https://chat.example")
    assert await door.admit(Knock("https://chat.example", ticket="T")) == alice
    again = await door.admit(Knock("https://chat.example", ticket="T"))
    assert (again.code, again.message) == (Code.INVALID_API_KEY, "The ticket is unknown, used, or over.")
    await door.issue(alice, "U", "https://other.example")
    assert (await door.admit(Knock("https://chat.example", ticket="U"))).code is Code.INVALID_API_KEY
    assert TICKET_SECONDS <= 30


async def test_a_ticket_of_a_revoked_key_is_worth_nothing(access):
    key, door = await make_key(access, "alice"), locked(access)
    await door.issue(await door.admit(Knock(bearer=key.text)), "T", None)
    await access.revoke_key(key.id)
    assert (await door.admit(Knock("https://chat.example", ticket="T"))).code is Code.INVALID_API_KEY


async def test_wrong_credentials_make_an_address_wait_and_no_other(access):
    clock = Clock()
    door = locked(access, most=3, clock=clock)
    guesses = [await door.admit(Knock(bearer="abc", address="198.51.100.1")) for _ in range(4)]
    assert [guess.code for guess in guesses[:3]] == [Code.INVALID_API_KEY] * 3
    assert (guesses[3].code, guesses[3].retry_after) == (Code.RATE_LIMIT_EXCEEDED, 20)
    elsewhere = await door.admit(Knock(bearer="abc", address="198.51.100.2"))
    assert elsewhere.code is Code.INVALID_API_KEY
    clock.now += 20
    assert (await door.admit(Knock(bearer="abc", address="198.51.100.1"))).code is Code.INVALID_API_KEY


async def test_a_store_that_does_not_answer_lets_nobody_in_who_is_not_known():
    refused = await locked(Away(), static=["bob:" + "k" * 20]).admit(
        Knock(bearer=(await make_key_text()), address="a")
    )
    assert (refused.code, refused.status) == (Code.BACKEND_UNAVAILABLE, 503)


async def make_key_text():
    class Sink:
        async def add_key(self, _):
            pass

    return (await make_key(Sink(), "alice")).text


async def test_a_key_of_the_settings_needs_no_store():
    admitted = await locked(Away(), static=["bob:" + "k" * 20]).admit(Knock(bearer="k" * 20))
    assert admitted.name == "bob"


async def test_a_token_is_no_key(access):
    assert (await locked(access).admit(Knock(bearer=token()))).code is Code.INVALID_API_KEY


async def test_a_refused_credential_is_logged_without_it(access):
    lines = io.StringIO()
    door = locked(access)
    door._log = make_logger("gateway", lines)
    await door.admit(Knock("https://chat.example", bearer="secret-credential", address="198.51.100.1"))
    (line,) = map(json.loads, lines.getvalue().splitlines())
    assert (line["event"], line["address"], line["kind"]) == ("credential_refused", "198.51.100.1", "key")
    assert "secret" not in lines.getvalue()


async def test_only_what_came_by_tls_is_served_where_that_is_asked(access):
    key = await make_key(access, "alice")
    door = locked(access, gate=Gate(https_only=True))
    refused = await door.admit(Knock(bearer=key.text))
    assert (refused.code, refused.status) == (Code.HTTPS_REQUIRED, 403)
    assert (await door.admit(Knock(bearer=key.text, secure=True))).name == "alice"


async def test_a_header_that_stands_twice_is_refused(access):
    refused = await locked(access).admit(Knock(bearer="x", doubled="Authorization"))
    assert (refused.code, refused.param) == (Code.INVALID_REQUEST, "Authorization")
