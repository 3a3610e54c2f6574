from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.settings import REQUIRED, PortTaken, SettingsError, read, setting, table


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One field of every type."""

    url: str = setting("REDIS_URL", REQUIRED, "Where Redis is.")
    port: int = setting("PORT", 8080, "Port of the door.", minimum=0, maximum=65535)
    keep: float = setting("KEEP", 30.0, "Seconds to go on alone.", minimum=0)
    verbose: bool = setting("VERBOSE", False, "Say more.")
    origins: tuple[str, ...] = setting("ORIGINS", (), "Pages that may connect.")
    folder: Path = setting("FOLDER", Path("page"), "Where the page is.")
    model: str | None = setting("MODEL", None, "The model.")
    engine: str = setting("ENGINE", "echo", "The engine.", choices=("echo", "transformers"))
    key: str | None = setting("KEY", None, "Who may ask.", secret=True)
    built: int = 7

    def __post_init__(self) -> None:
        if self.engine == "transformers" and self.model is None:
            raise ValueError("ENGINE=transformers needs a model: set MODEL.")


def problems(**environ: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        read(Example, environ)
    return caught.value.problems


def test_defaults_stand_where_nothing_is_set():
    assert read(Example, {"REDIS_URL": "redis://r"}) == Example(url="redis://r")


def test_every_type_is_parsed():
    found = read(
        Example,
        {
            "REDIS_URL": " redis://r ",
            "PORT": "9000",
            "KEEP": "1.5",
            "VERBOSE": "Yes",
            "ORIGINS": "https://a, https://b,",
            "FOLDER": "/srv/page",
            "MODEL": "small",
            "ENGINE": "transformers",
            "KEY": "s3cret",
        },
    )
    assert found == Example(
        url="redis://r",
        port=9000,
        keep=1.5,
        verbose=True,
        origins=("https://a", "https://b"),
        folder=Path("/srv/page"),
        model="small",
        engine="transformers",
        key="s3cret",
    )


def test_an_empty_variable_counts_as_unset():
    assert read(Example, {"REDIS_URL": "r", "PORT": "", "MODEL": " "}) == Example(url="r")


def test_a_home_folder_is_expanded():
    assert read(Example, {"REDIS_URL": "r", "FOLDER": "~/page"}).folder == Path.home() / "page"


def test_all_problems_are_told_at_once():
    told = problems(PORT="http", KEEP="-1", VERBOSE="maybe", ENGINE="vllm")
    assert told == (
        "REDIS_URL is not set: set REDIS_URL (Where Redis is).",
        "PORT must be a whole number, not 'http': change PORT or leave it unset (Port of the door).",
        "KEEP must be at least 0, not '-1': change KEEP or leave it unset (Seconds to go on alone).",
        "VERBOSE must be 1 or 0 (true, false, yes, no, on, off), not 'maybe': change VERBOSE or leave it unset (Say more).",
        "ENGINE must be one of echo, transformers, not 'vllm': change ENGINE or leave it unset (The engine).",
    )


@pytest.mark.parametrize("raw", ["nan", "inf", "-inf", "1e999", "ten"])
def test_a_number_is_finite(raw):
    assert "must be a number" in problems(REDIS_URL="r", KEEP=raw)[0]


def test_a_number_has_an_upper_bound():
    assert "must be at most 65535" in problems(REDIS_URL="r", PORT="65536")[0]


def test_a_problem_of_several_fields_is_told_by_the_class():
    assert problems(REDIS_URL="r", ENGINE="transformers") == (
        "ENGINE=transformers needs a model: set MODEL.",
    )


def test_a_secret_is_shown_neither_by_repr_nor_by_a_problem():
    @dataclass(frozen=True, slots=True)
    class Secretive:
        pin: int = setting("PIN", 0, "The pin.", secret=True)

    assert "1234" not in repr(Secretive(pin=1234))
    with pytest.raises(SettingsError) as caught:
        read(Secretive, {"PIN": "12x4"})
    assert "12x4" not in str(caught.value)
    assert "PIN must be a whole number, not the value given" in str(caught.value)


@pytest.mark.parametrize("raw", ["1e300", "1000000001"])
def test_a_number_beyond_all_sense_is_refused_where_no_maximum_is_named(raw):
    with pytest.raises(SettingsError, match=rf"KEEP must be at most 1e\+09, not '{raw}'"):
        read(Example, {"REDIS_URL": "r", "KEEP": raw})


def test_a_whole_number_of_any_length_is_refused_in_a_sentence():
    with pytest.raises(SettingsError, match=r"PORT must be at most 65535, not '9{400}'"):
        read(Example, {"REDIS_URL": "r", "PORT": "9" * 400})


def test_an_unknown_type_is_a_mistake_of_ours():
    @dataclass(frozen=True, slots=True)
    class Odd:
        odd: dict[str, str] = setting("ODD", REQUIRED, "Odd.")

    with pytest.raises(TypeError, match="cannot have the type"):
        read(Odd, {"ODD": "x"})


@given(st.integers())
def test_a_whole_number_is_read_as_it_was_written_or_refused(number):
    try:
        assert read(Example, {"REDIS_URL": "r", "PORT": str(number)}).port == number
    except SettingsError:
        assert not 0 <= number <= 65535


def test_the_table_shows_every_setting_and_no_other_field():
    rows = table(Example).splitlines()
    assert rows[2:] == [
        "| `REDIS_URL` | (required) | Where Redis is. |",
        "| `PORT` | `8080` | Port of the door. At least 0 and at most 65535. |",
        "| `KEEP` | `30.0` | Seconds to go on alone. At least 0. |",
        "| `VERBOSE` | `0` | Say more. |",
        "| `ORIGINS` | (none) | Pages that may connect. |",
        "| `FOLDER` | `page` | Where the page is. |",
        "| `MODEL` | (none) | The model. |",
        "| `ENGINE` | `echo` | The engine. One of `echo`, `transformers`. |",
        "| `KEY` | (none) | Who may ask. |",
    ]


def test_the_table_escapes_bars():
    @dataclass(frozen=True, slots=True)
    class Barred:
        mode: tuple[str, ...] = setting("MODE", ("a", "b"), "a|b.")

    assert table(Barred).splitlines()[-1] == "| `MODE` | `a,b` | a\\|b. |"


def test_a_host_that_nobody_knows_is_named_with_its_reason():
    error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    assert str(PortTaken("", "nowhere", 1, error)) == (
        "PORT 1 cannot be had on nowhere (Name or service not known): choose another, 0 for any free one, or set "
        "HOST to an address of this machine."
    )
