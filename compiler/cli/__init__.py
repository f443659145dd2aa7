"""The `dskc` command: one module per subcommand, imported only when it is chosen."""

from __future__ import annotations

import argparse
import importlib
import keyword
import os
import sys
from collections.abc import Sequence

from ..version import VERSION

# To add a command: a row here and a module of that name with `add(subparsers)`, which sets `run=` (args) -> exit code.
COMMANDS = (
    ("check", "find what is wrong with a spec"),
    ("compile", "write the training program of a spec"),
    ("run", "compile, then train on this machine"),
    ("verify", "prove the layout: compare it with one process, made small, on this CPU"),
    ("chaos", "run on this machine while faults strike, and compare with an undisturbed run"),
    ("plan", "show parameters, FLOPs and memory before anything runs"),
    ("tune", "find the fastest layout on the cluster, and say why not the others"),
    ("explain", "explain an error code or a setting"),
    ("new", "write a spec to start from"),
    ("import", "turn a Hugging Face config.json into a spec"),
    ("schema", "print the JSON Schema of the settings"),
    ("completion", "print the completion script of a shell"),
)

DESCRIPTION = "One page of spec in, a readable PyTorch training program out."
EPILOG = """\
examples:
  dskc new gpt.dsk                       write a small spec to start from
  dskc check gpt.dsk                     find mistakes, with their places and remedies
  dskc compile gpt.dsk -o build/gpt      write model.py and train.py
  dskc run gpt.dsk --set model.depth=2   train a smaller variant now
  dskc explain E0203                     what an error means; also: dskc explain optimizer.lr

exit codes: 0 fine, 1 errors in the spec or the run, 2 wrong usage
`dskc COMMAND --help` explains a command."""

Subparsers = argparse._SubParsersAction


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8 still shows every message
    parsed = parser(arguments[:1]).parse_args(arguments)
    try:
        code: int = parsed.run(parsed)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def parser(chosen: Sequence[str]) -> argparse.ArgumentParser:
    """The parser with the options of the chosen commands; the others have only their name and line of help."""
    top = argparse.ArgumentParser("dskc", description=DESCRIPTION, epilog=EPILOG, formatter_class=Formatter)
    top.add_argument("--version", action="version", version=f"dskc {VERSION}")
    subparsers = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, line in COMMANDS:
        if name in chosen:
            module = f".{name}_" if keyword.iskeyword(name) else f".{name}"
            importlib.import_module(module, __package__).add(subparsers)
        else:
            subparsers.add_parser(name, help=line)
    return top


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the layout of examples."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32)


def add_command(subparsers: Subparsers[argparse.ArgumentParser], name: str, epilog: str) -> argparse.ArgumentParser:
    """The parser of one command, its line of help taken from `COMMANDS`."""
    line = dict(COMMANDS)[name]
    return subparsers.add_parser(
        name, help=line, description=line[0].upper() + line[1:] + ".", epilog=epilog, formatter_class=Formatter
    )
