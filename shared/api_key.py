"""API keys: how one is made, spelled and known again; pure.

``tw_<id>_<secret><checksum>``: the id names the key in lists and logs, the secret is 190 random bits, and the
checksum (CRC-32, as in other well-known token formats) lets a door turn down a mistyped or cut-off key
without asking the store.  The store holds a SHA-256 of the whole, never the key: of 190 random bits nothing
can be found by trying, so a slow password hash would protect nothing and cost every request.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from dataclasses import dataclass

import msgspec

from shared.quota import Quota

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID, _SECRET, _CHECK = 10, 32, 6
_FORM = re.compile(rf"tw_([0-9A-Za-z]{{{_ID}}})_[0-9A-Za-z]{{{_SECRET + _CHECK}}}")

RANDOM_BYTES = 32
"""What :func:`mint` needs of randomness."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
"""How a key's principal may be called.  A colon is none of it: principals of other credentials have one."""


class KeyRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the store knows of a key.

    Version N reads what N-1 wrote and the reverse: fields are only added, with defaults, never renamed.
    """

    id: str
    name: str
    """The principal; several keys may have the same, so that one can replace another."""
    digest: str
    created: int
    """Unix seconds."""
    expires: int | None = None
    quota: Quota | None = None
    """Bounds of its own; without them the gateway's settings hold."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key in clear."""

    id: str
    text: str

    @property
    def digest(self) -> str:
        """Return what is stored of it."""
        return digest_of(self.text)


def mint(random: bytes) -> ApiKey:
    """Make a key of ``RANDOM_BYTES`` random bytes."""
    if len(random) != RANDOM_BYTES:
        raise ValueError(f"a key is made of {RANDOM_BYTES} random bytes, not {len(random)}")
    digits = _digits(int.from_bytes(random), _ID + _SECRET)
    body = f"tw_{digits[:_ID]}_{digits[_ID:]}"
    return ApiKey(digits[:_ID], body + _checksum(body))


def parse(text: str) -> ApiKey | None:
    """Read a key; None if it cannot be one, be it by a single wrong letter."""
    form = _FORM.fullmatch(text)
    if form is None or _checksum(text[:-_CHECK]) != text[-_CHECK:]:
        return None
    return ApiKey(form[1], text)


def digest_of(secret: str) -> str:
    """Return the SHA-256 under which a secret is kept."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _checksum(body: str) -> str:
    return _digits(zlib.crc32(body.encode()), _CHECK)


def _digits(number: int, count: int) -> str:
    digits = []
    for _ in range(count):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(digits)
