"""The command `tokenwire`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from shared.settings import SettingsError
from tokenwire.audit.command import add_to as add_audit
from tokenwire.audit.command import command_audit
from tokenwire.chat import add_to as add_chat
from tokenwire.chat import command_chat
from tokenwire.errors import REFUSED, CommandError
from tokenwire.keys import add_to as add_keys
from tokenwire.keys import command_keys
from tokenwire.up import add_to as add_up
from tokenwire.up import command_up
from tokenwire.usage import add_to as add_usage
from tokenwire.usage import command_usage


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
    chat = commands.add_parser("chat", help="ask one question, and see the answer being written")
    chat.set_defaults(command=command_chat)
    add_chat(chat)
    keys = commands.add_parser("keys", help="make, list and revoke API keys")
    keys.set_defaults(command=command_keys)
    add_keys(keys)
    usage = commands.add_parser("usage", help="show what each principal has used")
    usage.set_defaults(command=command_usage)
    add_usage(usage)
    audit = commands.add_parser("audit", help="strike at a real fleet, and prove that nothing is lost")
    audit.set_defaults(command=command_audit)
    add_audit(audit)
    return parser


if __name__ == "__main__":
    sys.exit(main())
