"""API keys and tokens for tests, and an issuer whose keys change."""

from __future__ import annotations

import http.server
import json
import random
import threading
import time
from dataclasses import dataclass, field
from functools import cache
from typing import Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from shared.api_key import RANDOM_BYTES, ApiKey, KeyRecord, mint
from shared.quota import Quota
from shared.store.access import Access

ISSUER, AUDIENCE = "https://issuer.example", "tokenwire"


def bearer(credential: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {credential}"}


async def make_key(
    access: Access, name: str, *, expires: int | None = None, quota: Quota | None = None
) -> ApiKey:
    """Make a key as the command does."""
    key = mint(random.randbytes(RANDOM_BYTES))
    await access.add_key(KeyRecord(key.id, name, key.digest, int(time.time()), expires, quota))
    return key


@cache
def signing_key(kind: str, number: int = 1) -> object:
    del number
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(ec.SECP256R1())


def jwk(kind: str, number: int = 1, **fields: object) -> dict:
    public = signing_key(kind, number).public_key()
    algorithm = RSAAlgorithm if kind == "rsa" else ECAlgorithm
    made = algorithm.to_jwk(public, as_dict=True)
    return {**made, "kid": f"{kind}-{number}", "use": "sig", **fields}


def token(
    subject: object = "alice", kind: str = "rsa", number: int = 1, *, headers: dict | None = None, **claims
) -> str:
    """Sign a token that is good, but for what ``claims`` change; None leaves a claim away."""
    now = int(time.time())
    body = {"sub": subject, "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 60, **claims}
    body = {name: value for name, value in body.items() if value is not None}
    algorithm = "RS256" if kind == "rsa" else "ES256"
    return jwt.encode(
        body,
        signing_key(kind, number),
        algorithm=algorithm,
        headers={"kid": f"{kind}-{number}", **(headers or {})},
    )


@dataclass
class Issuer:
    """Serves a JWK set on loopback; counts how often it is asked."""

    keys: list[dict] = field(default_factory=lambda: [jwk("rsa")])
    asked: int = 0
    status: int = 200
    url: str = ""

    def __enter__(self) -> Self:
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                self.send_response(issuer.status)
                if issuer.status == 302:
                    self.send_header("Location", f"{issuer.url}/elsewhere")
                self.end_headers()
                self.wfile.write(json.dumps({"keys": issuer.keys}).encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/jwks"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
