"""The command `tokenwire`."""

from __future__ import annotations

import argparse
import os
import select
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from shared.settings import SettingsError
from tokenwire import chat, hands, keys, top, up, usage
from tokenwire.audit import command as audit
from tokenwire.demo import command as demo
from tokenwire.doctor import command as doctor
from tokenwire.errors import FAILED, REFUSED, CommandError


class Command(NamedTuple):
    """One word that may follow `tokenwire`."""

    name: str
    help: str
    add_to: Callable[[argparse.ArgumentParser], None]
    """Adds what the command can be told."""
    run: Callable[[argparse.Namespace, Mapping[str, str]], int]
    """Does the work with what it was told and the environment, and returns the exit status."""


COMMANDS = (
    Command("up", "start everything here, in the foreground", up.add_to, up.command_up),
    Command(
        "demo-faults", "the page with buttons that break what is behind it", demo.add_to, demo.command_demo
    ),
    Command("chat", "ask one question, and see the answer being written", chat.add_to, chat.command_chat),
    Command("keys", "make, list and revoke API keys", keys.add_to, keys.command_keys),
    Command("usage", "show what each principal has used", usage.add_to, usage.command_usage),
    Command(
        "doctor",
        "find out what on the way holds streams up, and what to set",
        doctor.add_to,
        doctor.command_doctor,
    ),
    Command("top", "watch gateways, workers, tokens per second and latency", top.add_to, top.command_top),
    Command("ps", "list the responses that have not ended", hands.add_ps, hands.command_ps),
    Command("stop", "end one response at once, whoever asked for it", hands.add_one, hands.command_stop),
    Command("tail", "see one response being written, from its beginning", hands.add_one, hands.command_tail),
    Command(
        "audit", "strike at a real fleet, and prove that nothing is lost", audit.add_to, audit.command_audit
    ),
)
"""All commands, in the order in which `tokenwire --help` shows them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; what a user has to do about a problem is one sentence on stderr."""
    options = _parser().parse_args(argv)
    try:
        return _done(options)
    except BrokenPipeError:
        if _is_read():
            raise  # another pipe or socket
        return FAILED
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return REFUSED
    except CommandError as error:
        sys.stderr.write(f"{error}\n")
        return error.code


def _done(options: argparse.Namespace) -> int:
    """Run the command to its end, its last words included."""
    code = int(options.command(options, os.environ))
    sys.stdout.flush()
    return code


def _is_read() -> bool:
    """Whether anybody reads what we write; behind `head` nobody may."""
    poll = select.poll()
    poll.register(sys.stdout, 0)  # a lost reader is told without being asked for
    if not poll.poll(0):
        return True
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes at its end
    return False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tokenwire", description="Stream a language model's answers.")
    commands = parser.add_subparsers(required=True, metavar="command")
    for command in COMMANDS:
        its_parser = commands.add_parser(command.name, help=command.help)
        its_parser.set_defaults(command=command.run)
        command.add_to(its_parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
