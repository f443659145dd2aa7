"""`dskc compile`: write the training program of a spec."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ...dsl.diagnostics import Sink
from ...dsl.source import Source, Span
from . import Subparsers, add_command
from .spec_file import UsageError, add_spec_arguments, fail, read_spec, show

if TYPE_CHECKING:
    from ..build import Checked

EPILOG = """\
examples:
  dskc compile gpt.dsk                           write build/gpt/model.py, train.py, plan.json and a test
  dskc compile gpt.dsk -o out --profile laptop   another folder, a profile of the spec
  dskc compile gpt.dsk --standalone              a folder that runs where dskc is not installed
  python build/gpt/train.py                      train; goes on from the newest checkpoint
  python build/gpt/test_program.py               test the program, made small, on the CPU

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
    files = ["model.py", "parallel.py", "train.py", "plan.json", "launch/", "test_program.py"]
    files = [name for name in files if (folder / name).exists()]
    written = f"{', '.join(files[:-1])} and {files[-1]} written"
    print(f"{folder}: {written}; train with: {'bash' if many else 'python'} {program}")
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
            from ..elastic import siblings
            from ..emit import program

            smaller = siblings(checked.spec, sink)
            files = program(checked.spec, plan, sink, args.standalone, smaller) if not sink.failed else None
            if source is not None and files is not None:
                files |= _tests(args, source, checked)
    show(list(sink), stream=sys.stderr)
    return _written(output_folder(args), files, args.force) if files is not None else None


def _tests(args: argparse.Namespace, source: Source, checked: Checked) -> dict[str, str]:
    """`test_program.py` and what it runs; without it, which is said, where the spec cannot be made small."""
    from ..emit.verification import verification
    from ..layout import layout_of
    from ..pair import Pair, pair

    assert checked.spec is not None
    made = pair(source, args.profile, args.overrides, checked, args.standalone)
    if isinstance(made, Pair):
        return verification(made, layout_of(checked.spec), checked.spec.name, args.standalone)
    first = next(each for each in made if each.severity == "error")
    message = f"no `test_program.py` is written: the spec made small has an error, {first.code}: {first.message}"
    checked.sink.warning("W0941", message, Span(source, 0, 0), "`dskc verify` shows it")
    return {}


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
