"""`dskc compile`: write the training program of a spec."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from ...dsl.diagnostics import Sink
from . import Subparsers, add_command
from .spec_file import UsageError, add_spec_arguments, fail, read_spec, show

EPILOG = """\
examples:
  dskc compile gpt.dsk                           write build/gpt/model.py, train.py and plan.json
  dskc compile gpt.dsk -o out --profile laptop   another folder, a profile of the spec
  dskc compile gpt.dsk --standalone              a folder that runs where dskc is not installed
  python build/gpt/train.py                      train; goes on from the newest checkpoint

exit codes: 0 fine, 1 errors in the spec or files that you have changed, 2 wrong usage"""


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    command = add_command(subparsers, "compile", EPILOG)
    add_compile_arguments(command)
    command.set_defaults(run=run)


def add_compile_arguments(command: argparse.ArgumentParser) -> None:
    """The spec, and where its program goes."""
    add_spec_arguments(command)
    command.add_argument("-o", "--output", metavar="DIR", help="folder of the program (build/SPEC)")
    command.add_argument("--standalone", action="store_true", help="copy what the program needs of dskc beside it")
    command.add_argument("--force", action="store_true", help="write over files that were changed since")


def run(args: argparse.Namespace) -> int:
    """Compiles."""
    try:
        folder = compile_spec(args)
    except UsageError as error:
        return fail(error)
    if folder is None:
        return 1
    many = (folder / "parallel.py").is_file()
    program = shlex.quote(str(folder / ("launch/torchrun.sh" if many else "train.py")))
    files = "model.py, parallel.py, train.py, plan.json and launch/" if many else "model.py, train.py and plan.json"
    print(f"{folder}: {files} written; train with: {'bash' if many else 'python'} {program}")
    return 0


def compile_spec(args: argparse.Namespace) -> Path | None:
    """Writes the program and gives its folder; after errors, which are shown, None."""
    from ..build import check, planned, settled
    from ..gate import gate

    sink = Sink()
    source = read_spec(args.spec, sink)
    checked = check(source, args.profile, args.overrides) if source is not None and not sink.failed else None
    checked = settled(checked) if checked is not None else None
    sink = checked.sink if checked is not None else sink
    files = None
    if checked is not None and checked.spec is not None and checked.lowered is not None:
        gate(checked.spec, sink)
        plan = planned(checked) if not sink.failed else None
        if plan is not None and not sink.failed:
            from ..emit import program

            files = program(checked.spec, plan, sink, args.standalone)
    show(list(sink), stream=sys.stderr)
    return _written(output_folder(args), files, args.force) if files is not None else None


def _written(folder: Path, files: dict[str, str], force: bool) -> Path | None:
    from ..emit import WriteError, write

    try:
        write(folder, files, force)
    except WriteError as error:
        print(f"dskc: {error}", file=sys.stderr)
        return None
    return folder


def output_folder(args: argparse.Namespace) -> Path:
    """`-o`, else `build/` and the name of the spec and its profile."""
    if args.output:
        return Path(args.output)
    stem = "stdin" if args.spec == "-" else Path(args.spec).stem
    return Path("build") / (f"{stem}-{args.profile}" if args.profile else stem)
