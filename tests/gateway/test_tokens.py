import io
import json
import time
from dataclasses import dataclass

import jwt
import pytest
from credentials import AUDIENCE, ISSUER, jwk, signing_key, token

from gateway.jwks import Jwks
from gateway.principal import Credential
from gateway.tokens import Rules, Tokens, looks_like_token
from shared.observe import make_logger
from shared.quota import Quota
from shared.store.access import LONGEST_SECONDS

RULES = Rules(ISSUER, AUDIENCE, ("RS256", "ES256"), leeway=5.0)


@pytest.fixture
def tokens(access, tmp_path):
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [jwk("rsa"), jwk("ec")]}))
    jwks = Jwks(str(file), time.monotonic, make_logger("gateway", io.StringIO()))
    return Tokens(RULES, jwks, access, Quota(sockets=5), wall=time.time)


@pytest.mark.parametrize("kind", ["rsa", "ec"])
async def test_a_token_makes_its_subject_the_principal(tokens, kind):
    expires = int(time.time()) + 60
    principal = await tokens.find(token("auth0|7", kind, exp=expires))
    assert (principal.name, principal.credential) == ("jwt:auth0|7", Credential.JWT)
    assert principal.expires == expires + RULES.leeway
    assert principal.quota == Quota(sockets=5)


@dataclass(frozen=True)
class At:
    """A moment so many seconds from when the token is made."""

    seconds: float


def claims_now(claims):
    now = time.time()
    return {name: now + value.seconds if isinstance(value, At) else value for name, value in claims.items()}


@pytest.mark.parametrize(
    "bad",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "other"},
        {"aud": None},
        {"exp": At(-10)},
        {"exp": None},
        {"exp": At(LONGEST_SECONDS + 100)},
        {"nbf": At(60)},
        {"iat": At(600)},
        {"sub": None},
        {"sub": ""},
        {"sub": "x" * 256},
    ],
    ids=str,
)
async def test_a_token_with_a_wrong_claim_is_refused(tokens, bad):
    claims = claims_now(bad)
    assert await tokens.find(token(claims.pop("sub", "alice"), **claims)) is None


@pytest.mark.parametrize("claims", [{"exp": At(-1)}, {"nbf": At(3)}, {"aud": ["x", AUDIENCE]}], ids=str)
async def test_clocks_may_differ_a_little_and_an_audience_may_be_one_of_several(tokens, claims):
    assert await tokens.find(token(**claims_now(claims)))


async def test_a_token_signed_with_another_key_is_refused(tokens):
    assert await tokens.find(token(number=2, headers={"kid": "rsa-1"})) is None
    assert await tokens.find(token(number=2)) is None


async def test_no_algorithm_but_the_allowed_ones_is_taken(tokens):
    body = {"sub": "a", "iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 60}
    unsigned = jwt.encode(body, None, algorithm="none", headers={"kid": "rsa-1"})
    strong = jwt.encode(body, signing_key("rsa"), algorithm="RS512", headers={"kid": "rsa-1"})
    confused = jwt.encode(body, "x" * 64, algorithm="HS256", headers={"kid": "rsa-1"})
    mismatched = jwt.encode(body, signing_key("ec"), algorithm="ES256", headers={"kid": "rsa-1"})
    for forged in (unsigned, strong, confused, mismatched):
        assert await tokens.find(forged) is None


@pytest.mark.parametrize("text", ["eyJ.a.b", "eyJhbGciOiJSUzI1NiJ9..", "eyJ" + "A" * 9000 + ".e30.x"])
async def test_what_is_no_token_is_refused(tokens, text):
    assert looks_like_token(text)
    assert await tokens.find(text) is None


async def test_a_revocation_ends_the_tokens_issued_before_it(tokens, access):
    principal = await tokens.find(token(iat=int(time.time()) - 20))
    assert await tokens.still(principal.name, principal.credential_id)
    await access.revoke_principal("jwt:alice")
    assert not await tokens.still(principal.name, principal.credential_id)
    assert await tokens.find(token(iat=int(time.time()) - 20)) is None
    assert await tokens.find(token(iat=None)) is None
    assert await tokens.find(token("bob", iat=int(time.time()) - 20))
    assert await tokens.find(token(iat=int(time.time()) + 4)), "issued later, on a clock that is ahead"


def test_a_key_is_told_from_a_token_by_its_form():
    assert looks_like_token(token())
    assert not looks_like_token("tw_abc.def.ghi")
    assert not looks_like_token("eyJhbGciOiJSUzI1NiJ9")
