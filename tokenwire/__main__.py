"""The command `tokenwire`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from shared.settings import SettingsError
from tokenwire.audit.command import add_to as add_audit
from tokenwire.audit.command import command_audit
from tokenwire.chat import add_to as add_chat
from tokenwire.chat import command_chat
from tokenwire.demo.command import add_to as add_demo
from tokenwire.demo.command import command_demo
from tokenwire.doctor.command import add_to as add_doctor
from tokenwire.doctor.command import command_doctor
from tokenwire.errors import REFUSED, CommandError
from tokenwire.hands import add_one, add_ps, command_ps, command_stop, command_tail
from tokenwire.keys import add_to as add_keys
from tokenwire.keys import command_keys
from tokenwire.top import add_to as add_top
from tokenwire.top import command_top
from tokenwire.up import add_to as add_up
from tokenwire.up import command_up
from tokenwire.usage import add_to as add_usage
from tokenwire.usage import command_usage

if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no other name


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; what a user has to do about a problem is one sentence on stderr."""
    options = _parser().parse_args(argv)
    try:
        return int(options.command(options, os.environ))
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return REFUSED
    except CommandError as error:
        sys.stderr.write(f"{error}\n")
        return error.code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tokenwire", description="Stream a language model's answers.")
    commands = parser.add_subparsers(required=True, metavar="command")
    up = commands.add_parser("up", help="start everything here, in the foreground")
    up.set_defaults(command=command_up)
    add_up(up)
    demo = commands.add_parser("demo-faults", help="the page with buttons that break what is behind it")
    demo.set_defaults(command=command_demo)
    add_demo(demo)
    chat = commands.add_parser("chat", help="ask one question, and see the answer being written")
    chat.set_defaults(command=command_chat)
    add_chat(chat)
    keys = commands.add_parser("keys", help="make, list and revoke API keys")
    keys.set_defaults(command=command_keys)
    add_keys(keys)
    usage = commands.add_parser("usage", help="show what each principal has used")
    usage.set_defaults(command=command_usage)
    add_usage(usage)
    _add_oversight(commands)
    audit = commands.add_parser("audit", help="strike at a real fleet, and prove that nothing is lost")
    audit.set_defaults(command=command_audit)
    add_audit(audit)
    return parser


def _add_oversight(commands: _Commands) -> None:
    """Add the commands of the person who runs the system."""
    doctor = commands.add_parser("doctor", help="find out what on the way holds streams up, and what to set")
    doctor.set_defaults(command=command_doctor)
    add_doctor(doctor)
    top = commands.add_parser("top", help="watch gateways, workers, tokens per second and latency")
    top.set_defaults(command=command_top)
    add_top(top)
    ps = commands.add_parser("ps", help="list the responses that have not ended")
    ps.set_defaults(command=command_ps)
    add_ps(ps)
    stop = commands.add_parser("stop", help="end one response at once, whoever asked for it")
    stop.set_defaults(command=command_stop)
    add_one(stop)
    tail = commands.add_parser("tail", help="see one response being written, from its beginning")
    tail.set_defaults(command=command_tail)
    add_one(tail)


if __name__ == "__main__":
    sys.exit(main())
