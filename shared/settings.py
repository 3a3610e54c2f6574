"""Settings: a frozen dataclass per process, filled once from the environment, all problems at once.

The environment is read here and nowhere else.  A settings class looks like this::

    @dataclass(frozen=True, slots=True, kw_only=True)
    class GatewaySettings:
        port: int = setting("PORT", 8080, "Port of the door.", minimum=0, maximum=65535)
        token: str | None = setting("TOKEN", None, "Bearer token clients must show.", secret=True)

A problem that needs several fields is raised as ValueError in ``__post_init__``.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")

REQUIRED: Any = dataclasses.MISSING
"""Given as the default of a setting that has none."""

_MOST = 1e9
"""What no setting needs more of; three decades of seconds, and no whole number overflows that is made from it."""

_WORDS = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """What is known of one setting besides its type and default."""

    env: str
    help: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    secret: bool


class SettingsError(Exception):
    """The environment cannot be used; ``problems`` holds one sentence for each thing to change."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class PortTaken(SettingsError):
    """An address cannot be listened on; ``prefix`` is what stands before HOST and PORT in their variables."""

    def __init__(self, prefix: str, host: str, port: int, error: OSError) -> None:
        number = error.errno or 0
        reason = os.strerror(number) if number > 0 else error.strerror  # below zero: of the name lookup
        sentence = (
            f"{prefix}PORT {port} cannot be had on {host} ({reason}): choose another, 0 for any free one, "
            f"or set {prefix}HOST to an address of this machine."
        )
        super().__init__([sentence])


def setting(  # noqa: PLR0913 - all but three are named at the call and rarely given
    env_name: str,
    default: T,
    help: str,  # noqa: A002 - the word argparse uses for the same thing
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] | None = None,
    secret: bool = False,
) -> T:
    """Make a dataclass field that :func:`read` fills from the variable ``env_name``."""
    known = Setting(env_name, help, minimum, maximum, tuple(choices or ()), secret)
    field: Any = dataclasses.field(default=default, repr=not secret, metadata={"setting": known})
    return field  # type: ignore[no-any-return]  # like dataclasses.field: a Field that stands for its value


def read(cls: type[T], environ: Mapping[str, str]) -> T:
    """Return an instance of ``cls``; an empty variable counts as unset.

    Raises SettingsError with all problems.
    """
    values: dict[str, object] = {}
    problems: list[str] = []
    for name, kind, known, default in settings_of(cls):
        raw = environ.get(known.env, "").strip()
        if not raw:
            if default is REQUIRED:
                problems.append(f"{known.env} is not set: {_advice(known, default)}")
            continue
        try:
            values[name] = _value(raw, kind, known)
        except ValueError as problem:
            problems.append(f"{known.env} {problem}: {_advice(known, default)}")
    if problems:
        raise SettingsError(problems)
    try:
        return cls(**values)
    except ValueError as problem:
        raise SettingsError([str(problem)]) from None


def settings_of(cls: type[Any]) -> Iterator[tuple[str, Any, Setting, object]]:
    """Yield field name, type, setting and default of every field made by :func:`setting`."""
    kinds = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if "setting" in field.metadata:
            yield field.name, kinds[field.name], field.metadata["setting"], field.default


def table(cls: type[Any]) -> str:
    """Render all settings of ``cls`` as a Markdown table: name, default, meaning."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for _, kind, known, default in settings_of(cls):
        meaning = f"{known.help} {_bounds(known)}".strip().replace("|", "\\|")
        rows.append(f"| `{known.env}` | {_default_cell(kind, default)} | {meaning} |")
    return "\n".join(rows) + "\n"


def _value(raw: str, kind: Any, known: Setting) -> object:
    """Parse and check ``raw``.  Raises ValueError with the end of a sentence."""
    shown = "the value given" if known.secret else repr(raw)
    value = _parse(raw, kind, shown)
    if known.choices and not set(_items(value)) <= set(known.choices):
        raise ValueError(f"must be one of {', '.join(known.choices)}, not {shown}")
    if isinstance(value, int | float):
        if known.minimum is not None and value < known.minimum:
            raise ValueError(f"must be at least {known.minimum:g}, not {shown}")
        maximum = _MOST if known.maximum is None else known.maximum
        if value > maximum:
            raise ValueError(f"must be at most {maximum:g}, not {shown}")
    return value


def _parse(raw: str, kind: Any, shown: str) -> object:
    kind = _without_none(kind)
    if kind is bool:
        if raw.lower() not in _WORDS:
            raise ValueError(f"must be 1 or 0 (true, false, yes, no, on, off), not {shown}")
        return _WORDS[raw.lower()]
    if kind is int:
        return _number(raw, int, f"must be a whole number, not {shown}")
    if kind is float:
        return _number(raw, float, f"must be a number, not {shown}")
    if kind is str:
        return raw
    if kind is Path:
        return Path(raw).expanduser()
    if get_origin(kind) is tuple and get_args(kind) == (str, ...):
        parts = tuple(part.strip() for part in raw.split(",") if part.strip())
        if not parts:
            raise ValueError(f"must name something, not {shown}")
        return parts
    raise TypeError(f"a setting cannot have the type {kind}")


def _number(raw: str, kind: type[int | float], problem: str) -> int | float:
    try:
        value = kind(raw)
    except ValueError:
        raise ValueError(problem) from None
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(problem)
    return value


def _without_none(kind: Any) -> Any:
    """Return X of ``X | None``, and any other type as it is."""
    kinds = [arm for arm in get_args(kind) if arm is not NoneType]
    return kinds[0] if NoneType in get_args(kind) and len(kinds) == 1 else kind


def _items(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else (value,)


def _advice(known: Setting, default: object) -> str:
    """Say what to do about a problem with a setting."""
    if default is REQUIRED:
        return f"set {known.env} ({known.help.rstrip('.')})."
    return f"change {known.env} or leave it unset ({known.help.rstrip('.')})."


def _bounds(known: Setting) -> str:
    """Say within which bounds a value must lie, as a sentence, or nothing."""
    if known.choices:
        return f"One of {', '.join(f'`{choice}`' for choice in known.choices)}."
    limits = []
    if known.minimum is not None:
        limits.append(f"at least {known.minimum:g}")
    if known.maximum is not None:
        limits.append(f"at most {known.maximum:g}")
    return f"{' and '.join(limits).capitalize()}." if limits else ""


def _default_cell(kind: Any, default: object) -> str:
    if default is REQUIRED:
        return "(required)"
    if default in (None, (), ""):
        return "(none)"
    if _without_none(kind) is bool:
        return f"`{int(bool(default))}`"
    if isinstance(default, tuple):
        return f"`{','.join(map(str, default))}`"
    return f"`{default}`"
