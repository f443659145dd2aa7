"""Predicted peak memory beside what a tracker sees:  python benchmarks/memory.py [--only WORD ...] [--keep]

Each case is compiled, and its program trains two steps on fake tensors of a GPU (`fake/measure.py`): as large as it
likes, since they hold nothing. The prediction comes from the plan alone, with no number taken from a measurement.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine

from dskc.compiler.build import check, make_plan
from dskc.compiler.emit import program
from dskc.compiler.gate import gate
from dskc.compiler.memory import KINDS, memory_of
from dskc.dsl.source import Source

ROOT = Path(__file__).parents[1]
LIMIT = 0.05
"""How far a prediction may be from what is measured."""


@dataclass(frozen=True)
class Case:
    """An example with its precision, its checkpointing, and further settings."""

    example: str
    precision: str
    checkpointing: str
    flags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For tables and folders."""
        words = (self.example, self.precision, self.checkpointing, *(flag.split(".")[-1] for flag in self.flags))
        return " ".join(words)


DEEP = ("model.depth=64",)
LARGE = ("training.micro_batch_size=32",)
CASES = (
    Case("stdlib_gpt", "bf16", "off"),
    Case("stdlib_gpt", "bf16", "full"),
    Case("stdlib_gpt", "bf16", "sqrt"),
    Case("stdlib_gpt", "bf16", "selective"),
    Case("stdlib_gpt", "fp32", "off"),
    Case("stdlib_gpt", "fp32", "full"),
    Case("stdlib_gpt", "bf16", "sqrt", DEEP),
    Case("stdlib_gpt", "bf16", "full", DEEP),
    Case("bert", "bf16", "off"),
    Case("bert", "fp32", "off", LARGE),
    Case("bert", "fp32", "sqrt", LARGE),
    Case("bert", "bf16", "selective", LARGE),
    Case("clip", "fp32", "off", LARGE),
    Case("clip", "bf16", "full", LARGE),
    Case("clip", "bf16", "selective", LARGE),
    Case("clip", "fp32", "sqrt", LARGE),
    Case("resnet50", "fp32", "off"),
    Case("resnet50", "bf16", "off", LARGE),
    Case("resnet50", "bf16", "full"),
    Case("resnet50", "fp32", "selective"),
    Case("resnet50", "fp32", "sqrt", LARGE),
    Case("vit_digits", "fp32", "off"),
    Case("vit_digits", "fp32", "selective"),
    Case("vit_digits", "bf16", "full"),
    Case("digits", "fp32", "off"),
    Case("digits", "fp32", "full"),
    Case("digits", "bf16", "sqrt"),
    Case("deepseek_small", "bf16", "off"),
    Case("deepseek_small", "bf16", "full"),
    Case("deepseek_small", "bf16", "sqrt"),
    Case("deepseek_small", "bf16", "selective"),
)


def main() -> int:
    """Predicts, measures, prints a table; 1 when a prediction is too far off."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], help="cases whose name holds all of these words")
    parser.add_argument("--keep", action="store_true", help="write the result to results/")
    flags = parser.parse_args()
    chosen = [case for case in CASES if all(word in case.name.split() for word in flags.only)]
    about = machine.describe()
    with tempfile.TemporaryDirectory() as folder:
        rows = [predicted(case, Path(folder) / str(index)) for index, case in enumerate(chosen)]
        for row, found in zip(rows, measured([Path(folder) / str(i) for i in range(len(rows))]), strict=True):
            row |= {"measured": found["peak"], "measured_at": found["at"]}
            row["error"] = row["predicted"] / row["measured"] - 1
            print(line(row), flush=True)
    worst = max(abs(row["error"]) for row in rows)
    print(f"{len(rows)} cases, largest error {worst:.1%}, limit {LIMIT:.0%}")
    if flags.keep:
        print(machine.write("memory", about, rows))
    return int(worst > LIMIT)


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    sizes = f"{row['predicted'] / 2**20:10.1f} MiB predicted{row['measured'] / 2**20:10.1f} MiB measured"
    return f"{row['case']:46}{sizes}{row['error']:+8.1%}  {row['moment']}"


def predicted(case: Case, folder: Path) -> dict[str, Any]:
    """Writes the program of a case; its row so far."""
    text = (ROOT / "examples" / f"{case.example}.dsk").read_text("utf-8")
    source = Source(f"{case.example}.dsk", text.split("compression {")[0])
    settings = (f"precision.compute={case.precision}", f"memory.checkpointing={case.checkpointing}")
    checked = check(source, None, ("training.execution=eager", *settings, *case.flags))
    assert checked.spec is not None
    assert checked.lowered is not None, [each.message for each in checked.sink]
    gate(checked.spec, checked.sink)
    plan = make_plan(checked.spec, checked.lowered)
    start = time.perf_counter()
    (memory,) = memory_of(plan, checked.spec)
    seconds = time.perf_counter() - start
    files = program(checked.spec, plan, checked.sink)
    assert files is not None, [each.message for each in checked.sink]
    inputs = [
        (name, [plan.sizes.get(str(dim), dim) if str(dim) != "B" else "B" for dim in tensor.shape], tensor.kind)
        for name, tensor in checked.lowered.inputs
    ]
    for name, content in {**files, "inputs.json": json.dumps(inputs)}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")
    kinds = {kind: getattr(memory, kind) for kind in KINDS}
    row = {"case": case.name, "predicted": memory.peak, "moment": memory.moment, "kinds": kinds}
    return row | {"margin": memory.margin, "seconds_to_predict": round(seconds, 3)}


def measured(folders: list[Path]) -> list[dict[str, Any]]:
    """What the tracker says of each program."""
    command = [sys.executable, str(Path(__file__).with_name("fake") / "measure.py"), *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr[-2000:]
    return [json.loads(text) for text in done.stdout.splitlines() if text.startswith("{")]


if __name__ == "__main__":
    sys.exit(main())
