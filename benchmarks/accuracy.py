"""Predicted throughput and memory beside published runs:  python benchmarks/accuracy.py > docs/accuracy.md"""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from published.rows import RUNS, SOURCES, Run

from dskc.compiler.build import check, make_plan
from dskc.compiler.planner import again
from dskc.compiler.planner.choice import changed
from dskc.compiler.planner.predict import Prediction, predict
from dskc.compiler.planner.step import step_time
from dskc.compiler.planner.units import Part
from dskc.dsl.source import Source

HERE = Path(__file__).parent / "published"
GIB = 1 << 30
REQUIRED = ("Megatron-LM SC21", "torchtitan 8B")


@dataclass(frozen=True)
class Row:
    """A run and what is predicted for it: tokens per second and accelerator, GiB."""

    run: Run
    tokens: float
    memory: float

    @property
    def error(self) -> float:
        """Relative error of the throughput."""
        return self.tokens / self.run.tokens - 1


class Halves:
    """Selective recomputation of which every second product that is not attention is computed again as well."""

    def __call__(self, _stage: int, part: Part) -> float:
        """Seconds of a stage."""
        products = sum(
            (unit.work.products[0] - unit.work.attention[0]) / 2 * count for unit, count in part.pieces if unit.repeated
        )
        return again.Kind("selective")(_stage, part) + products


def predicted(run: Run) -> Row:
    """The prediction for a published run."""
    path = HERE / f"{run.spec}.dsk"
    checked = check(Source(path.name, path.read_text()), None, run.settings)
    assert checked.spec is not None, [finding.message for finding in checked.sink]
    assert checked.lowered is not None, [finding.message for finding in checked.sink]
    plan = make_plan(checked.spec, checked.lowered)
    if run.fused:  # in a pipeline as well, where no plan of dskc's own program has them
        training = changed(checked.spec.training, execution="compiled")
        checked = replace(checked, spec=replace(checked.spec, training=training))
        assert checked.spec is not None
    found: Prediction = predict(plan, checked.spec)
    seconds = found.step.seconds
    if run.halves:
        steps = checked.spec.training.gradient_accumulation
        seconds = step_time(found.parts, found.layout, checked.spec, found.machine, steps, Halves()).seconds
    memory = max(entry.peak for entry in found.memory)
    return Row(run, found.tokens / seconds / found.layout.world, memory / GIB)


def table(name: str, rows: list[Row]) -> list[str]:
    """The rows of one source as a table, with its mean error."""
    has_memory = any(row.run.memory for row in rows)
    head = "| run | tokens/s per GPU | predicted | error |" + (" GiB | predicted | error |" if has_memory else "")
    lines = [f"### {name}", "", SOURCES[name], "", head, "| :-- |" + " --: |" * (head.count("|") - 2)]
    for row in rows:
        line = f"| {row.run.name} | {row.run.tokens:,.1f} | {row.tokens:,.1f} | {row.error:+.1%} |"
        if has_memory:
            given = row.run.memory
            line += f" {given:.1f} | {row.memory:.1f} | {row.memory / given - 1:+.0%} |" if given else " | | |"
        lines.append(line)
    errors = [abs(row.error) for row in rows]
    mean, median = statistics.mean(errors), statistics.median(errors)
    return [*lines, "", f"Throughput: mean error {mean:.1%}, median {median:.1%}, largest {max(errors):.1%}.", ""]


def main() -> int:
    """Prints the page."""
    rows = [predicted(run) for run in RUNS]
    tables = list(dict.fromkeys(row.run.table for row in rows))
    required = [abs(row.error) for row in rows if row.run.table in REQUIRED]
    text = (HERE / "accuracy.md").read_text()
    summary = (
        f"Over the {len(required)} runs of the first two tables the mean error is {statistics.mean(required):.1%}."
    )
    print(text.replace("SUMMARY", summary).rstrip())
    print()
    for name in tables:
        print("\n".join(table(name, [row for row in rows if row.run.table == name])))
    print(
        "Any row again: the settings of `benchmarks/published/rows.py` after `dskc plan benchmarks/published/SPEC.dsk`."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
