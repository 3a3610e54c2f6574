"""The command `tokenwire`: every word that may follow it explains itself."""

import re

import pytest

from tokenwire.__main__ import COMMANDS, main


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    """No word is broken at a line's end."""
    monkeypatch.setenv("COLUMNS", "200")


def shown(capsys, *argv):
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code == 0
    return " ".join(capsys.readouterr().out.split())


def test_help_lists_every_command_with_what_it_is_for_in_order(capsys):
    listed = shown(capsys, "--help")
    lines = [f" {command.name} {command.help} " for command in COMMANDS]
    places = [listed.find(line) for line in lines]
    assert -1 not in places
    assert places == sorted(places)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_says_what_it_can_be_told(command, capsys):
    usage, _, told = shown(capsys, command.name, "--help").partition("show this help message and exit")
    assert usage.startswith(f"usage: tokenwire {command.name} ")
    assert "--" in told or "verb" in usage  # options of its own, or commands of its own


def test_a_command_that_there_is_not_is_refused_with_the_names_of_all(capsys):
    with pytest.raises(SystemExit) as end:
        main(["upp"])
    assert end.value.code == 2
    refusal = capsys.readouterr().err
    assert {"upp", *(command.name for command in COMMANDS)} <= set(re.findall(r"[\w-]+", refusal))
