"""The public keys of a token issuer, out of a file or from its address; kept, and read again when they may change."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import jwt
import msgspec

from shared.observe import Log
from shared.settings import SettingsError

FRESH_SECONDS = 300.0
"""How long keys are good without another look."""
AGAIN_SECONDS = 10.0
"""Pause between looks that a token with an unknown key, or a failure, asks for."""
_FETCH_SECONDS = 5.0
_MOST_BYTES = 1024 * 1024

Keys = Mapping[str, jwt.PyJWK]


class JwksUnavailable(Exception):
    """No keys could be had yet."""


class Jwks:
    """Keys by their id.  An issuer that does not answer takes nobody's access: the last keys stay."""

    def __init__(self, place: str, clock: Callable[[], float], log: Log) -> None:
        self._place = place
        self._clock = clock
        self._log = log
        self._keys: Keys | None = None
        self._read_at = self._tried_at = float("-inf")
        self._reading = asyncio.Lock()

    async def key(self, key_id: str | None) -> jwt.PyJWK | None:
        """Return a key; a token without a key's id means the only one.  Raises JwksUnavailable."""
        found = self._find(key_id)
        if found is None and self._clock() - self._tried_at >= AGAIN_SECONDS:
            await self._read()
            found = self._find(key_id)
        if self._keys is None:
            raise JwksUnavailable
        return found

    async def refresh(self) -> None:
        """Look again if it is time."""
        now = self._clock()
        if now - self._read_at >= FRESH_SECONDS and now - self._tried_at >= AGAIN_SECONDS:
            await self._read()

    def _find(self, key_id: str | None) -> jwt.PyJWK | None:
        keys = self._keys or {}
        if key_id is None and len(keys) == 1:
            return next(iter(keys.values()))
        return keys.get(key_id or "")

    async def _read(self) -> None:
        asked_at = self._clock()
        async with self._reading:
            if self._tried_at >= asked_at:
                return  # somebody else has just looked
            began_at = self._clock()
            try:
                self._keys = parse_keys(await asyncio.to_thread(_load, self._place))
                self._read_at = began_at
            except (OSError, ValueError, URLError, jwt.PyJWTError, msgspec.MsgspecError) as error:
                self._log.warning("jwks_unavailable", problem=str(error) or type(error).__name__)
            # Not before the look is done: who comes meanwhile waits for it, and is not told that there are no keys.
            self._tried_at = self._clock()


class _KeySet(msgspec.Struct):
    keys: list[dict[str, Any]] = []


def parse_keys(raw: bytes) -> Keys:
    """Read a JWK set (RFC 7517); keys that we have no use for are left out.  Raises if nothing is left."""
    keys: dict[str, jwt.PyJWK] = {}
    for entry in msgspec.json.decode(raw, type=_KeySet).keys:
        if entry.get("use", "sig") != "sig" or entry.get("kty") == "oct":
            continue
        try:
            keys[entry.get("kid", "")] = jwt.PyJWK(entry)
        except jwt.PyJWTError:
            continue  # of a kind that this library does not know
    if not keys:
        raise ValueError("there is no public key for signatures in it")
    return keys


def check_file(place: str) -> None:
    """Raise SettingsError if ``place`` is a file without keys; an address may answer later."""
    if _is_address(place):
        return
    try:
        parse_keys(_load(place))
    except (OSError, ValueError, jwt.PyJWTError, msgspec.MsgspecError) as error:
        sentence = (
            f"JWT_JWKS ({place}) cannot be read ({error}): name a file with a JWK set, or an https:// URL."
        )
        raise SettingsError([sentence]) from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Keys come from the address that was named, from no other."""

    def redirect_request(self, *_: object) -> None:
        """Follow nothing."""


def _load(place: str) -> bytes:
    if not _is_address(place):
        return Path(place).expanduser().read_bytes()
    opener = urllib.request.build_opener(_NoRedirect)
    with opener.open(place, timeout=_FETCH_SECONDS) as answer:
        raw: bytes = answer.read(_MOST_BYTES)
    return raw


def _is_address(place: str) -> bool:
    return place.startswith(("https://", "http://"))  # http:// is refused by the settings but for loopback
