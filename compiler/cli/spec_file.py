"""What the commands that read a spec share: its arguments, reading it, and printing findings."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from ...dsl.diagnostics import Diagnostic, Sink
from ...dsl.read import MAX_BYTES, decode, read
from ...dsl.render import count, render
from ...dsl.source import Source


class UsageError(Exception):
    """What the command line itself gets wrong: exit code 2."""


def add_spec_arguments(command: argparse.ArgumentParser) -> None:
    """The spec, its profile and its overrides."""
    command.add_argument("spec", metavar="SPEC", help="a .dsk file; - reads standard input")
    command.add_argument("--profile", metavar="NAME", help="apply `profile NAME { }` of the spec")
    command.add_argument(
        "--set",
        dest="overrides",
        metavar="SECTION.SETTING=VALUE",
        action="append",
        default=[],
        help="change one setting, as in --set model.dim=512; may be repeated",
    )


def read_spec(name: str, sink: Sink) -> Source | None:
    """The text of a spec; UsageError when there is no such file."""
    if name == "-":
        return decode("<stdin>", sys.stdin.buffer.read(MAX_BYTES + 1), sink)
    try:
        return read(Path(name), sink)
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the name
        raise UsageError(f"cannot read {name!r}: {error}") from error


def show(findings: Sequence[Diagnostic], format: str = "text", stream: TextIO | None = None) -> None:
    """Prints findings; colour only where a terminal shows it and NO_COLOR is not set."""
    stream = stream or sys.stdout
    color = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    stream.write(render(findings, format, color))
    if findings and format == "text":
        stream.write(f"\n{count(findings)}\n")


def fail(error: UsageError) -> int:
    """Prints a usage error; its exit code."""
    print(f"dskc: {error}", file=sys.stderr)
    return 2
