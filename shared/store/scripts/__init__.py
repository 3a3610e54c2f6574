"""The Lua scripts, one per verb, as values."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

_NEEDS_COMMON = (
    "submit",
    "claim",
    "renew",
    "release",
    "finish",
    "cancel",
    "expire",
    "follow",
    "detach",
    "delete",
)
_ALONE = ("announce", "look", "take", "append", "why", "sweep", "attend")


@dataclass(frozen=True, slots=True)
class Script:
    """The source of a verb and the digest by which the server knows it."""

    name: str
    source: str
    sha: str


def load_scripts() -> dict[str, Script]:
    """Read all verbs from the package; the common part goes behind a script's first line."""
    folder = files(__name__)
    common = folder.joinpath("common.lua").read_text()
    scripts = {}
    for name in _NEEDS_COMMON + _ALONE:
        source = folder.joinpath(f"{name}.lua").read_text()
        if name in _NEEDS_COMMON:
            head, _, body = source.partition("\n")
            source = f"{head}\n{common}\n{body}"
        scripts[name] = Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())
    return scripts
