"""API keys at the door: those of the store, with a short memory, and those of the settings."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.principal import Credential, Principal
from shared.api_key import NAME, KeyRecord, digest_of, parse
from shared.quota import Quota
from shared.settings import SettingsError
from shared.store.access import Access

CACHE_SECONDS = 10.0
"""How long a look-up is remembered; a revocation that was told ends it at once."""
_MOST_CACHED = 10_000
_STATIC = "static-"
_HEX = re.compile(r"sha256:([0-9a-f]{64})")
_LEAST_LENGTH = 20


class KeyRing:
    """Finds the principal of an API key.  ``clock`` tells monotonic seconds, ``wall`` unix ones."""

    def __init__(
        self,
        access: Access,
        settled: StaticKeys,
        quota: Quota,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._access = access
        self._static = settled
        self._quota = quota
        self._clock = clock
        self._wall = wall
        self._cache: dict[str, tuple[KeyRecord | None, float]] = {}
        self._told = 0
        """Revocations heard of: a look-up that one overtook is not remembered."""

    async def find(self, text: str) -> Principal | None:
        """Return whose key this is.  Raises StoreUnavailable if nobody can say."""
        static = self._static.find(text)
        if static is not None:
            return static
        key = parse(text)
        if key is None:
            return None  # a typing error costs no look-up
        record = await self._record(key.id)
        if record is None or not hmac.compare_digest(record.digest, key.digest) or self._is_over(record):
            return None
        return Principal(record.name, Credential.KEY, record.id, record.expires, record.quota or self._quota)

    async def still(self, key_id: str) -> bool:
        """Say whether a key is still good, as the store has it now."""
        if key_id.startswith(_STATIC):
            return self._static.still(key_id)
        self.forget(key_id)
        record = await self._record(key_id)
        return record is not None and not self._is_over(record)

    def forget(self, key_id: str) -> None:
        """Look this key up again the next time."""
        self._told += 1
        self._cache.pop(key_id, None)

    def refresh(self) -> None:
        """Read the file of keys again if it has changed.  Raises SettingsError if it cannot be read."""
        self._static.refresh()

    async def _record(self, key_id: str) -> KeyRecord | None:
        record, until = self._cache.get(key_id, (None, 0.0))
        if self._clock() < until:
            return record
        told = self._told
        record = await self._access.key(key_id)
        if told == self._told:
            if len(self._cache) >= _MOST_CACHED:
                self._cache.clear()  # somebody guesses; the good ones are looked up again
            self._cache[key_id] = (record, self._clock() + CACHE_SECONDS)
        return record

    def _is_over(self, record: KeyRecord) -> bool:
        return record.expires is not None and record.expires <= self._wall()


@dataclass(frozen=True, slots=True)
class _Static:
    id: str
    name: str
    digest: str


class StaticKeys:
    """Keys of the settings and of a file, so that a deployment's secrets do without a command."""

    def __init__(self, entries: Iterable[str], file: Path | None, quota: Quota) -> None:
        """Raise SettingsError if one cannot be read."""
        self._named = _read("API_KEYS", entries)
        self._file = file
        self._quota = quota
        self._stamp: tuple[int, int, int] | None = None
        self._filed: Mapping[str, _Static] = {}
        self.refresh()

    def find(self, text: str) -> Principal | None:
        """Return whose key this is."""
        digest = digest_of(text)
        found: _Static | None = None
        for keys in (self._named, self._filed):
            for key in keys.values():
                if hmac.compare_digest(key.digest, digest):  # all are compared, so no time tells of one
                    found = key
        if found is None:
            return None
        return Principal(found.name, Credential.KEY, found.id, None, self._quota)

    def still(self, key_id: str) -> bool:
        """Say whether a key is still there."""
        return key_id in self._named or key_id in self._filed

    def refresh(self) -> None:
        """Read the file again if it has changed.  Raises SettingsError if it cannot be read."""
        if self._file is None:
            return
        try:
            status = self._file.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp != self._stamp:
                self._filed = _read("API_KEYS_FILE", self._file.read_text().splitlines())
                self._stamp = stamp
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError([f"API_KEYS_FILE ({self._file}) cannot be read: {error}."]) from None


def _read(setting: str, lines: Iterable[str]) -> Mapping[str, _Static]:
    entries = [line.strip() for line in lines]
    read = [
        _entry(setting, number, entry)
        for number, entry in enumerate(entries, 1)
        if entry and not entry.startswith("#")
    ]
    return {key.id: key for key in read}


def _entry(setting: str, number: int, entry: str) -> _Static:
    """Read NAME:KEY or NAME:sha256:HEX; a problem's sentence never shows it."""
    name, _, secret = entry.partition(":")
    stored = _HEX.fullmatch(secret)
    problem = None
    if not NAME.fullmatch(name):
        problem = "has a name that is not 1 to 64 letters, digits, '_', '.', '@' or '-'"
    elif stored is None and len(secret) < _LEAST_LENGTH:
        problem = f"has a key shorter than {_LEAST_LENGTH} characters"
    elif stored is None and secret.startswith("tw_") and parse(secret) is None:
        problem = "has a tw_ key whose checksum is wrong"
    if problem is not None:
        raise SettingsError([f"{setting} entry {number} {problem}: write NAME:KEY or NAME:sha256:HEX."])
    digest = stored[1] if stored else digest_of(secret)
    return _Static(f"{_STATIC}{digest[:10]}", name, digest)
