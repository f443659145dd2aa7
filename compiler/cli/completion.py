"""`dskc completion`: completion of commands, options and files in a shell."""

from __future__ import annotations

import argparse
import sys

from . import COMMANDS, Subparsers, add_command, parser

SHELLS = ("bash", "zsh", "tcsh")
EPILOG = """\
examples:
  eval "$(dskc completion bash)"                     in ~/.bashrc
  dskc completion zsh > ~/.zfunc/_dskc               with fpath+=(~/.zfunc) in ~/.zshrc"""


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    command = add_command(subparsers, "completion", EPILOG)
    command.add_argument("shell", choices=SHELLS)
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the script."""
    try:
        import shtab
    except ImportError:
        print("dskc: completion needs the package shtab: pip install shtab", file=sys.stderr)
        return 1
    print(shtab.complete(parser([name for name, _ in COMMANDS]), args.shell))
    return 0
