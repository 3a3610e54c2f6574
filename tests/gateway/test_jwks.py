import asyncio
import io
import json

import msgspec
import pytest
from credentials import Issuer, jwk

from gateway.jwks import AGAIN_SECONDS, FRESH_SECONDS, Jwks, JwksUnavailable, check_file, parse_keys
from shared.observe import make_logger
from shared.settings import SettingsError


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def reader(place):
    made = Jwks(str(place), Clock(), make_logger("gateway", io.StringIO()))
    made.clock = made._clock
    return made


async def test_keys_are_fetched_once_and_again_when_they_are_no_longer_fresh():
    with Issuer() as issuer:
        jwks = reader(issuer.url)
        for _ in range(3):
            assert await jwks.key("rsa-1")
            await jwks.refresh()
        assert issuer.asked == 1
        jwks.clock.now += FRESH_SECONDS
        await jwks.refresh()
        assert issuer.asked == 2


async def test_a_new_key_of_the_issuer_is_found_at_once_and_an_old_one_goes():
    with Issuer() as issuer:
        jwks = reader(issuer.url)
        assert await jwks.key("rsa-1")
        issuer.keys = [jwk("rsa", 2)]
        jwks.clock.now += AGAIN_SECONDS
        assert await jwks.key("rsa-2")
        assert await jwks.key("rsa-1") is None


async def test_who_comes_while_the_keys_are_read_waits_for_them():
    with Issuer() as issuer:
        jwks = reader(issuer.url)
        found = await asyncio.gather(*(jwks.key("rsa-1") for _ in range(20)))
        assert [key.key_id for key in found] == ["rsa-1"] * 20
        assert issuer.asked == 1


async def test_a_reader_that_leaves_in_the_middle_takes_the_keys_from_nobody():
    with Issuer() as issuer:
        jwks = reader(issuer.url)
        first = asyncio.create_task(jwks.key("rsa-1"))
        await asyncio.sleep(0)
        first.cancel()
        assert await jwks.key("rsa-1")


async def test_unknown_keys_do_not_make_us_flood_the_issuer():
    with Issuer() as issuer:
        jwks = reader(issuer.url)
        for number in range(20):
            assert await jwks.key(f"guess-{number}") is None
        assert issuer.asked == 1


@pytest.mark.parametrize("status", [500, 302])
async def test_an_issuer_that_fails_takes_nobodys_access(status):
    with Issuer() as issuer:
        jwks = reader(issuer.url)
        await jwks.key("rsa-1")
        issuer.status, issuer.keys = status, []
        jwks.clock.now += FRESH_SECONDS
        await jwks.refresh()
        assert issuer.asked == 2, "and a redirect is not followed"
        assert await jwks.key("rsa-1")


async def test_without_any_keys_nobody_can_say():
    with Issuer(status=500) as issuer, pytest.raises(JwksUnavailable):
        await reader(issuer.url).key("rsa-1")


async def test_keys_may_lie_in_a_file(tmp_path):
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [jwk("ec")]}))
    assert (await reader(file).key("ec-1")).key_id == "ec-1"
    assert (await reader(file).key(None)).key_id == "ec-1", "the only one may go without a name"


def test_only_public_keys_for_signatures_are_taken():
    secret = {"kty": "oct", "kid": "s", "k": "c2VjcmV0"}
    keys = parse_keys(
        json.dumps({"keys": [jwk("rsa"), jwk("ec", use="enc"), secret, {"kty": "new"}]}).encode()
    )
    assert list(keys) == ["rsa-1"]


@pytest.mark.parametrize("raw", [b'{"keys": []}', b"{}", b"<html>", b'{"keys": 1}', b'{"keys": [1]}', b"[]"])
def test_what_is_no_key_set_is_an_error(raw):
    with pytest.raises((ValueError, msgspec.MsgspecError)):
        parse_keys(raw)


def test_a_file_without_keys_is_refused_at_the_start_and_an_address_may_answer_later(tmp_path):
    (tmp_path / "jwks.json").write_text("{}")
    for file, reason in (("missing", "No such file"), ("jwks.json", "no public key")):
        with pytest.raises(
            SettingsError, match=rf"^JWT_JWKS \(.*{file}\) cannot be read \(.*{reason}.*name a file"
        ):
            check_file(str(tmp_path / file))
    check_file("https://nowhere.invalid/jwks")
