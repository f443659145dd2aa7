"""`dskc tune`: the fastest layouts of a spec's model on its cluster, and why each other is not among them."""

from __future__ import annotations

import argparse
import json
import sys
import time

from ...dsl.diagnostics import Sink
from . import Subparsers, add_command
from .spec_file import UsageError, add_spec_arguments, fail, read_spec, show

EPILOG = """\
examples:
  dskc tune gpt.dsk                                  the ten fastest layouts for the ranks of the spec
  dskc tune gpt.dsk --set parallel.world_size=1024   the same for another number of ranks
  dskc tune gpt.dsk --top 3 --json                   for other programs

The samples of a step stay as the spec has them; data, pipeline, tensor and sequence parallelism, what is sharded, the
schedule, the size of the micro-batch and what is recomputed are searched. `dskc plan` explains a layout in full.

exit codes: 0 fine, 1 errors in the spec or no layout that fits, 2 wrong usage"""
QUIET = 1.0
"""Seconds after which a search says how far it is."""


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    command = add_command(subparsers, "tune", EPILOG)
    add_spec_arguments(command)
    command.add_argument("--top", type=_positive, default=10, metavar="N", help="layouts to show (10)")
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    command.set_defaults(run=run)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError("a whole number above 0")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Searches and prints."""
    from ..build import Checked, check

    sink = Sink()
    try:
        source = read_spec(args.spec, sink)
    except UsageError as error:
        return fail(error)
    checked = check(source, args.profile, args.overrides) if source else Checked(None, None, sink)
    show(list(checked.sink), stream=sys.stderr)
    if checked.spec is None or checked.lowered is None:
        return 1
    from ..planner.ranking import ranked, ranking_data
    from ..planner.search import search

    found = search(checked.spec, checked.lowered, args.top, progress=Progress())
    tokens = checked.lowered.sizes.get("S", 0)
    if args.json:
        print(json.dumps(ranking_data(found, tokens), indent=2))
    else:
        print(ranked(checked.lowered.name, found, tokens))
    return 0 if found.best else 1


class Progress:
    """Says how far a long search is, on standard error where that is a terminal."""

    def __init__(self) -> None:
        self.began = time.monotonic()

    def __call__(self, text: str) -> None:
        """Shows one line."""
        if sys.stderr.isatty() and time.monotonic() - self.began > QUIET:
            print(f"dskc tune: {time.monotonic() - self.began:4.0f} s  {text}", file=sys.stderr, flush=True)
