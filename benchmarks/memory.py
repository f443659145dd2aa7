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
    """An example with its precision, its checkpointing, further settings, and one of `LAYOUTS`.

    `pipeline` is the rank of the pipeline that is measured; ranks of the other axes hold the same.
    """

    example: str
    precision: str
    checkpointing: str
    flags: tuple[str, ...] = ()
    layout: str = ""
    pipeline: int = 0

    @property
    def name(self) -> str:
        """For tables and folders."""
        words = [self.example, self.precision, self.checkpointing, *(flag.split(".")[-1] for flag in self.flags)]
        words += [self.layout] if self.layout else []
        return " ".join([*words, f"stage={self.pipeline}"] if "pipeline" in self.layout else words)


DEEP = ("model.depth=64",)
LAYOUTS = {
    "": (),
    "data2": ("world_size=2",),
    "zero1": ("world_size=2", "shard=optimizer"),
    "zero2": ("world_size=2", "shard=gradients"),
    "zero3": ("world_size=2", "shard=parameters"),
    "zero3x8": ("world_size=8", "shard=parameters"),
    "tensor2": ("world_size=2", "tensor_model_parallel=2"),
    "sequence2": ("world_size=2", "tensor_model_parallel=2", "sequence_parallel=true"),
    "zero3xtensor2": ("world_size=4", "tensor_model_parallel=2", "shard=parameters"),
    "pipeline2": ("world_size=2", "pipeline_depth=2", "schedule=one_f_one_b"),
    "pipeline2-interleaved": ("world_size=2", "pipeline_depth=2", "schedule=interleaved(2)"),
    "pipeline2-gpipe": ("world_size=2", "pipeline_depth=2", "schedule=gpipe"),
    "pipeline2xdata2xtensor2": ("world_size=8", "pipeline_depth=2", "tensor_model_parallel=2"),
    "pipeline2xzero1": ("world_size=4", "pipeline_depth=2", "shard=optimizer"),
    "pipeline2xzero3": ("world_size=4", "pipeline_depth=2", "shard=parameters"),
    "pipeline2xzero1xtensor2": ("world_size=8", "pipeline_depth=2", "tensor_model_parallel=2", "shard=optimizer"),
}
"""What a rank of a layout is called in the table, and its settings of `parallel`."""
LARGE = ("training.micro_batch_size=32",)
MICRO = ("training.gradient_accumulation=4",)
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
    Case("stdlib_gpt", "bf16", "off", (), "data2"),
    Case("stdlib_gpt", "bf16", "off", (), "zero1"),
    Case("stdlib_gpt", "bf16", "full", (), "zero2"),
    Case("stdlib_gpt", "bf16", "full", (), "zero3"),
    Case("stdlib_gpt", "fp32", "off", (), "zero3"),
    Case("stdlib_gpt", "fp32", "sqrt", (), "tensor2"),
    Case("stdlib_gpt", "bf16", "off", (), "sequence2"),
    Case("stdlib_gpt", "bf16", "off", (), "zero3xtensor2"),
    Case("stdlib_gpt", "bf16", "off", MICRO, "pipeline2"),
    Case("stdlib_gpt", "bf16", "off", MICRO, "pipeline2", 1),
    Case("stdlib_gpt", "bf16", "full", MICRO, "pipeline2-interleaved"),
    Case("stdlib_gpt", "bf16", "full", MICRO, "pipeline2xdata2xtensor2"),
    Case("stdlib_gpt", "bf16", "off", MICRO, "pipeline2xzero1xtensor2"),
    Case("stdlib_gpt", "bf16", "off", MICRO, "pipeline2xzero1", 1),
    Case("stdlib_gpt", "bf16", "off", MICRO, "pipeline2xzero3"),
    Case("bert", "bf16", "selective", LARGE, "zero2"),
    Case("bert", "fp32", "off", LARGE, "data2"),
    Case("bert", "bf16", "sqrt", LARGE, "zero3xtensor2"),
    Case("bert", "fp32", "off", (*LARGE, *MICRO), "pipeline2", 1),
    Case("clip", "bf16", "off", LARGE, "zero3"),
    Case("clip", "fp32", "full", LARGE, "tensor2"),
    Case("resnet50", "fp32", "off", (), "data2"),
    Case("resnet50", "bf16", "full", (), "data2"),
    Case("deepseek_small", "bf16", "off", (), "zero1"),
    Case("deepseek_small", "bf16", "full", (), "zero3xtensor2"),
    Case("llama", "bf16", "full", (), "zero3x8"),
    Case("llama", "bf16", "selective", (), "zero3x8"),
    Case("llama", "bf16", "off", ("model.depth=8",), "zero3xtensor2"),
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
    return f"{row['case']:72}{sizes}{row['error']:+8.1%}  {row['moment']}, {row['measured_at']}"


def predicted(case: Case, folder: Path) -> dict[str, Any]:
    """Writes the program of a case; its row so far."""
    folders = (ROOT / "examples", ROOT / "benchmarks" / "published")
    path = next(place for place in folders if (place / f"{case.example}.dsk").exists()) / f"{case.example}.dsk"
    text = path.read_text("utf-8")
    source = Source(f"{case.example}.dsk", text.split("compression {")[0])
    settings = [f"precision.compute={case.precision}", f"memory.checkpointing={case.checkpointing}"]
    settings += [f"parallel.{setting}" for setting in LAYOUTS[case.layout]]
    checked = check(source, None, ("training.execution=eager", *settings, *case.flags))
    assert checked.spec is not None
    assert checked.lowered is not None, [each.message for each in checked.sink]
    gate(checked.spec, checked.sink)
    plan = make_plan(checked.spec, checked.lowered)
    start = time.perf_counter()
    memory = memory_of(plan, checked.spec)[case.pipeline]
    seconds = time.perf_counter() - start
    files = program(checked.spec, plan, checked.sink)
    assert files is not None, (case.name, [each.message for each in checked.sink])
    inputs = [
        (name, [plan.sizes.get(str(dim), dim) if str(dim) != "B" else "B" for dim in tensor.shape], tensor.kind)
        for name, tensor in checked.lowered.inputs
    ]
    layout = plan.layout
    about = {"rank": case.pipeline * layout.data * layout.tensor, "world": layout.world}
    texts = {**files, "inputs.json": json.dumps(inputs)} | (
        {"rank.json": json.dumps(about)} if layout.world > 1 else {}
    )
    for name, content in texts.items():
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
    lines = [json.loads(text) for text in done.stdout.splitlines() if text.startswith("{")]
    found = {each["case"]: each for each in lines}
    return [found[folder.name] for folder in folders]


if __name__ == "__main__":
    sys.exit(main())
