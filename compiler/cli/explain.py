"""`dskc explain`: the page of an error code, or what a setting means."""

from __future__ import annotations

import argparse
import re
import sys

from ...dsl.explain import codes, page
from . import Subparsers, add_command

EPILOG = """\
examples:
  dskc explain E0203           an error code, with a wrong and a right example
  dskc explain optimizer.lr    a setting: its type, default and meaning
  dskc explain optimizer       all settings of a section"""


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    command = add_command(subparsers, "explain", EPILOG)
    command.add_argument("subject", metavar="CODE|SETTING", help="a code such as E0203, a setting, or a section")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the page."""
    subject: str = args.subject
    if re.fullmatch(r"[EeWw]\d{4}", subject):
        return _code(subject.upper())
    from ...dsl.describe import describe

    text = describe(subject)
    if text is None:
        print(f"dskc: no setting, section or code is called `{subject}`{_nearest(subject)}", file=sys.stderr)
        return 2
    print(text)
    return 0


def _code(code: str) -> int:
    try:
        print(page(code), end="")
    except KeyError:
        near = [known for known in codes() if known[:3] == code[:3]]
        hint = f"; near it are {', '.join(near)}" if near else f"; the first is {codes()[0]}, the last {codes()[-1]}"
        print(f"dskc: there is no code {code}{hint}", file=sys.stderr)
        return 2
    return 0


def _nearest(subject: str) -> str:
    from difflib import get_close_matches

    from ...dsl.describe import subjects

    near = get_close_matches(subject, subjects(), n=3)
    return f"; near it are {', '.join(near)}" if near else ""
