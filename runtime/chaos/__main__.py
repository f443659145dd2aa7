"""The worker of `dskc chaos`: `python -m dskc.runtime.chaos PROGRAM FOLDER ...`; 0 where the run has stood it."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import time
from pathlib import Path

from .. import record
from ..errors import RunError
from . import disk, report
from .faults import Fault, chosen, draw, parse
from .job import Shape
from .whole import Result, disturb, reference


def main() -> int:
    """Runs it; the exit code."""
    flags = _flags()
    shape = Shape.of(flags.program)
    if flags.list or flags.random:
        disk.privately()
    try:
        given = [chosen(parse(text), shape, random.Random(flags.seed)) for text in flags.list]
    except RunError as error:
        print(f"dskc: {error}", file=sys.stderr)
        return 2
    try:
        return _run(flags, shape, given)
    except RunError as error:
        print(f"dskc: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser("dskc chaos")
    parser.add_argument("program", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--faults", dest="list", nargs="+", default=[])
    parser.add_argument("--random", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--patience", type=float, default=120.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--keep", action="store_true")
    return parser.parse_args()


def _run(flags: argparse.Namespace, shape: Shape, given: list[Fault]) -> int:
    program, folder = flags.program.resolve(), flags.folder.resolve()
    nodes = f" on {shape.nodes} simulated nodes" if shape.nodes > 1 else ""
    print(f"undisturbed run of {shape.world} rank{'s' if shape.world > 1 else ''}{nodes} ...", flush=True)
    begun = time.monotonic()
    undisturbed = reference(program, folder / "undisturbed", flags.device, flags.patience)
    last = steps(undisturbed)
    faults = given or drawn(program, last, flags.random, flags.seed)
    print(f"{last} steps in {time.monotonic() - begun:.1f} s; now with {len(faults)} faults", flush=True)
    place = folder / "disturbed"
    result = disturb(program, undisturbed, place, faults, flags.seed, flags.device, flags.patience, _say)
    _summary(result, place)
    if not flags.keep and not result.failures:
        for run in (undisturbed, place / "run"):
            shutil.rmtree(run)
    return 1 if result.failures else 0


def _say(text: str) -> None:
    print(text, flush=True)


def steps(run: Path) -> int:
    """The last step of a run."""
    return max((row["step"] for row in record.read(run / "metrics.jsonl")), default=0)


def drawn(program: Path, last: int, count: int, seed: int) -> list[Fault]:
    """Faults drawn for a run of `last` steps: after each there is time for a save and for the one that follows it."""
    every = json.loads((program / "plan.json").read_text("utf-8"))["spec"]["checkpoint"]["every"]
    interval = int(every["value"]) if isinstance(every, dict) and every.get("unit") == "steps" else max(1, last // 10)
    return draw(count, 2, last - 3 * interval, random.Random(seed))


def _summary(result: Result, folder: Path) -> None:
    print()
    print("\n".join(report.table(result.outcomes)))
    print()
    for outcome in result.outcomes:
        print(f"{outcome.fault}: {outcome.proof or 'did not fire'}")
    middle = report.medians(result.outcomes)
    if middle:
        print("\nmedian seconds to the next new step: " + ", ".join(f"{k} {v:.2f}" for k, v in middle.items()))
    for text in result.agreement:
        print(text)
    for text in result.failures:
        print(f"FAILED: {text}")
    fired = sum(outcome.struck is not None for outcome in result.outcomes)
    print(f"{fired} of {len(result.outcomes)} faults fired; {result.seconds:.0f} s; {folder}/timeline.png")


if __name__ == "__main__":
    sys.exit(main())
