"""`dskc import`: a Hugging Face config.json becomes a spec."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ...dsl.source import Source
from . import Subparsers, add_command
from .spec_file import UsageError, fail, show

EPILOG = """\
examples:
  dskc import llama/config.json                 print the spec of a Llama, Qwen2, Qwen3 or GPT-2
  dskc import llama/config.json -o llama.dsk    write it; a file that exists is kept
  dskc import c.json --ignore my_key            go on although this key is not understood

Weights and tokenizer.json that lie beside the config.json are used by the spec. A key that the spec cannot say is an
error; nothing is left out silently.

exit codes: 0 fine, 1 a key cannot be translated, 2 wrong usage"""


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    command = add_command(subparsers, "import", EPILOG)
    command.add_argument("config", metavar="CONFIG", help="a config.json of transformers")
    command.add_argument("-o", "--output", metavar="FILE", help="where to write the spec (standard output)")
    command.add_argument("--ignore", metavar="KEY", action="append", default=[], help="leave a key out")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Translates."""
    path = Path(args.config)
    try:
        config = _read(path)
        unknown = [key for key in args.ignore if key not in config]
        if unknown:
            raise UsageError(f"{path} has no key {unknown[0]!r} to ignore")
        text = _translate({key: value for key, value in config.items() if key not in args.ignore}, path)
        if text is None:
            return 1
        _write(args.output, text)
    except UsageError as error:
        return fail(error)
    return 0


def _read(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no JSON file: {error}") from error
    if not isinstance(config, dict):
        raise UsageError(f"{path} holds no settings")
    return config


def _translate(config: dict[str, Any], path: Path) -> str | None:
    from ..build import check
    from ..huggingface import spec_text, translate

    found = translate(config)
    for fault in found.faults:
        print(f"error: {path}: {fault}", file=sys.stderr)
    if found.faults:
        print("help: `--ignore KEY` leaves out a key that you know to change nothing", file=sys.stderr)
        return None
    folder = path.parent
    weights = str(folder) if any(folder.glob("*.safetensors")) else None
    tokenizer = folder / "tokenizer.json"
    kind = config["model_type"]  # one of the known
    text = spec_text(found, f"A {kind} of Hugging Face.", weights, str(tokenizer) if tokenizer.is_file() else None)
    checked = check(Source(str(path), text), None, [])
    if checked.sink.failed:  # sizes that do not go together
        show(list(checked.sink), stream=sys.stderr)
        return None
    return text


def _write(output: str | None, text: str) -> None:
    if output is None:
        sys.stdout.write(text)
        return
    try:
        with Path(output).open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError as error:
        raise UsageError(f"{output} exists; nothing was written") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write {output}: {getattr(error, 'strerror', None) or error}") from error
    print(f"wrote {output}; now: dskc check {output}")
