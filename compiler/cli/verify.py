"""`dskc verify`: prove the layout of a spec on this machine's CPU."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from ...dsl.diagnostics import Sink
from . import Subparsers, add_command
from .compile import output_folder
from .spec_file import UsageError, add_spec_arguments, fail, read_spec, show

EPILOG = """\
examples:
  dskc verify gpt.dsk                        compare the layout with one process, and stop and resume in both
  dskc verify gpt.dsk --set parallel.shard=parameters

The spec is made small (same structure, small sizes, at most 8 ranks) and compiled for its layout and for one process
into build/gpt/verify. Both programs run as they are; `python build/gpt/verify/test_program.py` does it again. The same
test lies in every folder that `dskc compile` writes; this command also takes layouts that no example was proven in.
exit codes: 0 they compute the same, 1 they do not or the spec has errors, 2 wrong usage"""


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    command = add_command(subparsers, "verify", EPILOG)
    add_spec_arguments(command)
    command.add_argument("-o", "--output", metavar="DIR", help="folder of the program (build/SPEC)")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compiles the pair and runs its test."""
    try:
        folder = _write(args)
    except UsageError as error:
        return fail(error)
    if folder is None:
        return 1
    sys.stdout.flush()
    return subprocess.run([sys.executable, str(folder / "test_program.py")], check=False).returncode


def _write(args: argparse.Namespace) -> Path | None:
    """The folder of the two programs; after errors, which are shown, None."""
    from ..build import check, settled
    from ..layout import layout_of

    sink = Sink()
    source = read_spec(args.spec, sink)
    checked = settled(check(source, args.profile, args.overrides)) if source is not None and not sink.failed else None
    sink = checked.sink if checked is not None else sink
    if source is None or checked is None or checked.spec is None or checked.lowered is None:
        show(list(sink), stream=sys.stderr)
        return None
    asked = layout_of(checked.spec)
    from ..emit import WriteError, write
    from ..emit.verification import shape, verification
    from ..pair import Pair, pair

    made = pair(source, args.profile, args.overrides, checked)
    if not isinstance(made, Pair):
        show(list(made), stream=sys.stderr)
        return None
    folder = output_folder(args) / "verify"
    try:
        write(folder, verification(made, asked, checked.spec.name), force=True)
    except WriteError as error:
        print(f"dskc: {error}", file=sys.stderr)
        return None
    small = made.small
    if shape(small.layout) != shape(asked):
        print(f"asked for: {shape(asked)} ({asked.world} ranks)")
    print(f"run here:  {shape(small.layout)} ({small.layout.world} ranks)")
    for what, before, after in small.changed:
        print(f"made small: {what} {before:,} -> {after:,}")
    return folder
