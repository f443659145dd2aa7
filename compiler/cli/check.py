"""`dskc check`: find what is wrong with a spec, and repair what can be repaired safely."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from ...dsl.diagnostics import Diagnostic, Sink
from ...dsl.fixes import apply_fixes
from ...dsl.render import FORMATS
from ...dsl.source import Source
from ..build import check
from . import Subparsers, add_command
from .spec_file import UsageError, add_spec_arguments, fail, read_spec, show

EPILOG = """\
examples:
  dskc check gpt.dsk
  dskc check gpt.dsk --profile laptop --set training.steps=10
  dskc check gpt.dsk --fix                     repair what has one safe repair, then check
  dskc check gpt.dsk --output-format sarif     for a code-scanning service
  cat gpt.dsk | dskc check -

exit codes: 0 no errors, 1 errors in the spec, 2 wrong usage"""

_ROUNDS = 20


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    command = add_command(subparsers, "check", EPILOG)
    add_spec_arguments(command)
    command.add_argument("--fix", action="store_true", help="apply safe fixes to the file (with -: print the result)")
    command.add_argument("--output-format", choices=FORMATS, default="text", help="how to print findings (text)")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Checks; with `--fix` first repairs."""
    try:
        source, findings = _check(args, None)
        if args.fix:
            source, findings = _fix(args, source, findings)
    except UsageError as error:
        return fail(error)
    stream = sys.stderr if args.fix and args.spec == "-" else sys.stdout
    show(findings, args.output_format, stream)
    if not findings and args.output_format == "text":
        print(f"{source.name if source else args.spec}: no errors", file=stream)
    return int(any(finding.severity == "error" for finding in findings))


def _check(args: argparse.Namespace, source: Source | None) -> tuple[Source | None, list[Diagnostic]]:
    sink = Sink()
    source = source or read_spec(args.spec, sink)
    if source is None or sink.failed:
        return source, list(sink)
    return source, list(check(source, args.profile, args.overrides).sink)


def _fix(
    args: argparse.Namespace, source: Source | None, findings: list[Diagnostic]
) -> tuple[Source | None, list[Diagnostic]]:
    """Repairs until nothing more can be: a repaired mistake may have hidden another."""
    total = 0
    original = source
    for _ in range(_ROUNDS):
        if source is None:
            break
        text, made = apply_fixes(source, findings)
        if not made or text == source.text:
            break
        total += made
        source, findings = _check(args, Source(source.name, text))
    if args.spec == "-":
        sys.stdout.write(source.text if source else "")
    elif source and source is not original:
        _replace(Path(args.spec), source.text)
        print(f"{source.name}: {total} fixed", file=sys.stderr)
    return source, findings


def _replace(path: Path, text: str) -> None:
    """Writes a file whole or not at all, with the rights it had."""
    path = path.resolve()
    try:
        mode = path.stat().st_mode
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text.encode("utf-8"))
            os.chmod(temporary, mode)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
