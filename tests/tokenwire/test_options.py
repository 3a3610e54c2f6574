import argparse
from dataclasses import dataclass

import pytest

from shared.settings import read, setting
from tokenwire.options import add_options, environ_with
from tokenwire.settings import ChatSettings, UpSettings


@dataclass(frozen=True, slots=True)
class Example:
    """Settings of a command."""

    port: int = setting("PORT", 8080, "Port.")
    redis_url: str | None = setting("REDIS_URL", None, "Redis, 100% yours.")
    verbose: bool = setting("VERBOSE", False, "Say more.")


def given_options(*argv, environ):
    parser = argparse.ArgumentParser()
    add_options(parser, Example)
    return read(Example, environ_with(parser.parse_args(argv), Example, environ))


def test_an_option_wins_over_the_environment():
    assert given_options("--port", "9000", environ={"PORT": "1", "REDIS_URL": "r"}) == Example(9000, "r")


def test_a_switch_needs_no_value_but_takes_one():
    assert given_options("--verbose", environ={}).verbose
    assert not given_options("--verbose", "0", environ={"VERBOSE": "1"}).verbose


def test_other_variables_are_passed_on():
    parser = argparse.ArgumentParser()
    add_options(parser, Example)
    assert environ_with(parser.parse_args([]), Example, {"SLOTS": "3"}) == {"SLOTS": "3"}


@pytest.mark.parametrize("settings", [Example, UpSettings, ChatSettings])
def test_help_shows_every_setting(settings):
    parser = argparse.ArgumentParser()
    add_options(parser, settings)
    shown = parser.format_help()
    assert all(option in shown for option in parser._option_string_actions)
    assert "None" not in shown
