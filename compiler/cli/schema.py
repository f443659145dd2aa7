"""`dskc schema`: the JSON Schema of a resolved spec."""

from __future__ import annotations

import argparse
import json

from ...dsl.json_schema import json_schema, section_schema
from ...dsl.schema.sections import SECTIONS
from . import Subparsers, add_command

EPILOG = """\
examples:
  dskc schema > dsk.schema.json          all sections (draft 2020-12)
  dskc schema --section optimizer        one section"""


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    command = add_command(subparsers, "schema", EPILOG)
    command.add_argument("--section", choices=SECTIONS, metavar="SECTION", help=f"one of {', '.join(SECTIONS)}")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints it."""
    content = section_schema(args.section) if args.section else json_schema()
    print(json.dumps(content, indent=2, ensure_ascii=False))
    return 0
