import io

import pytest
from prometheus_client import CollectorRegistry

from gateway.app import Gateway
from gateway.settings import GatewaySettings, is_loopback
from shared.observe import make_logger
from shared.settings import SettingsError, read, table
from shared.store.memory import MemoryGatewayStore, MemoryServer


def test_defaults_are_complete():
    settings = read(GatewaySettings, {})
    assert (settings.host, settings.port, settings.waiting_bound) == ("127.0.0.1", 8080, 64)
    assert settings.limits.session == 300
    assert settings.leases.lease == 10


def test_another_host_needs_a_word():
    with pytest.raises(SettingsError, match="DEV_OPEN=1"):
        read(GatewaySettings, {"HOST": "0.0.0.0"})
    assert read(GatewaySettings, {"HOST": "0.0.0.0", "DEV_OPEN": "1"}).host == "0.0.0.0"


def test_the_default_of_tokens_never_exceeds_the_limit():
    defaults = read(GatewaySettings, {"MAX_OUTPUT_TOKENS": "100"}).defaults
    assert (defaults.max_tokens, defaults.max_tokens_limit) == (100, 100)


def test_the_password_of_the_store_is_not_shown():
    settings = read(GatewaySettings, {"REDIS_URL": "redis://:hunter2@127.0.0.1"})
    assert "hunter2" not in repr(settings)


def test_every_setting_is_in_the_table():
    assert table(GatewaySettings).count("\n") > 20


def test_loopback_is_known_by_its_spelling():
    assert all(map(is_loopback, ["localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "localhost.evil.example", "10.0.0.1", ""]))


@pytest.mark.parametrize("seconds", [1.0, 4.0, 25.0])
def test_a_viewers_lease_is_refreshed_twice_before_it_runs_out(seconds):
    settings = GatewaySettings(attachment_seconds=seconds)
    store = MemoryGatewayStore(MemoryServer(lambda: 0.0))
    gateway = Gateway(settings, store, make_logger("gateway", io.StringIO()), CollectorRegistry())
    assert 2 * gateway.hub._pace.refresh < seconds


KEYS = {"AUTH": "keys"}
JWT = {
    "AUTH": "jwt",
    "JWT_ISSUER": "https://i.example",
    "JWT_AUDIENCE": "a",
    "JWT_JWKS": "https://i.example/jwks",
}


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"AUTH": "dev,keys"}, "dev takes everybody"),
        ({"API_KEYS": "bob:x"}, "AUTH=dev asks nobody"),
        ({"API_KEYS_FILE": "keys"}, "AUTH=dev asks nobody"),
        ({"AUTH": "password"}, "AUTH must be one of dev, keys, jwt"),
        ({"AUTH": "jwt", "JWT_ISSUER": "i"}, "JWT_ISSUER, JWT_AUDIENCE and JWT_JWKS"),
        (JWT | {"JWT_JWKS": "http://i.example/jwks"}, "https:// only"),
        (JWT | {"JWT_JWKS": "ftp://i.example/jwks"}, "https:// only"),
        ({"AUTH": ","}, "AUTH must name something, not ','"),
        (JWT | {"JWT_ALGORITHMS": "HS256"}, "JWT_ALGORITHMS must be one of"),
        (JWT | {"JWT_ALGORITHMS": "none"}, "JWT_ALGORITHMS must be one of"),
        ({"ORIGINS": "*"}, "ORIGINS has '\\*'"),
        ({"ORIGINS": "https://*.example"}, "ORIGINS has"),
        ({"ORIGINS": "https://chat.example/"}, "ORIGINS has"),
        ({"ORIGINS": "chat.example"}, "ORIGINS has"),
        ({"TRUSTED_PROXIES": "10.0.0.1/8"}, "TRUSTED_PROXIES has '10.0.0.1/8'"),
        ({"TRUSTED_PROXIES": "nginx"}, "TRUSTED_PROXIES has 'nginx'"),
        ({"HTTPS_ONLY": "1"}, "HTTPS_ONLY needs TRUSTED_PROXIES"),
    ],
)
def test_what_would_let_the_wrong_ones_in_is_refused_at_the_start(environ, sentence):
    with pytest.raises(SettingsError, match=sentence):
        read(GatewaySettings, environ)


def test_with_keys_the_gateway_may_listen_anywhere():
    assert read(GatewaySettings, KEYS | {"HOST": "0.0.0.0"}).host == "0.0.0.0"
    assert read(GatewaySettings, JWT | {"HOST": "::"}).dev is False
    local = JWT | {"JWT_JWKS": "http://127.0.0.1:9000/jwks", "TRUSTED_PROXIES": "10.0.0.0/8, fd00::1"}
    assert read(GatewaySettings, local).trusted_proxies == ("10.0.0.0/8", "fd00::1")


def test_keys_are_not_shown():
    assert "hunter2" not in repr(read(GatewaySettings, KEYS | {"API_KEYS": "bob:hunter2"}))
