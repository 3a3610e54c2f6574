"""The Lua scripts, one per verb, as values."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

_NEEDS_COMMON = (
    *("submit", "claim", "renew", "release", "finish", "cancel", "expire", "follow", "detach"),
    "delete",
)
_NEEDS_PULSE = ("sweep", "attend")
_ALONE = (
    "announce",
    "look",
    "take",
    "append",
    "why",
    "revoke_key",
    "revoke_principal",
    "meter",
    "settle",
    "tally",
)


@dataclass(frozen=True, slots=True)
class Script:
    """The source of a verb and the digest by which the server knows it."""

    name: str
    source: str
    sha: str


def load_scripts() -> dict[str, Script]:
    """Read all verbs from the package; what they share goes behind a script's first line."""
    folder = files(__name__)
    pulse = folder.joinpath("pulse.lua").read_text()
    common = pulse + folder.joinpath("common.lua").read_text()
    shared = dict.fromkeys(_NEEDS_COMMON, common) | dict.fromkeys(_NEEDS_PULSE, pulse)
    scripts = {}
    for name in (*_NEEDS_COMMON, *_NEEDS_PULSE, *_ALONE):
        source = folder.joinpath(f"{name}.lua").read_text()
        if name in shared:
            head, _, body = source.partition("\n")
            source = f"{head}\n{shared[name]}\n{body}"
        scripts[name] = Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())
    return scripts
