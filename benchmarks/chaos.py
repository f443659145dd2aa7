"""A soak: 200 random faults on tiny runs of 2 and 4 ranks, each run compared with an undisturbed one.

    python benchmarks/chaos.py                    # 200 faults, ten a run
    python benchmarks/chaos.py --faults 30        # fewer
    python benchmarks/chaos.py --work DIR         # goes on with the runs of an earlier, interrupted call
    python benchmarks/chaos.py --work DIR --done  # writes the result of those that are done, and runs nothing

Every run has to end with the same bits, every fault has to fire and to leave its trace in the events. Results go to
`results/chaos-<date>.json`. Runs that are done are kept in the work folder; a call with the same one skips them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from dskc.runtime.chaos import disk
from dskc.runtime.chaos.__main__ import drawn, steps
from dskc.runtime.chaos.account import PARTS
from dskc.runtime.chaos.whole import disturb, reference

sys.path.insert(0, str(Path(__file__).parent))
import machine

SPEC = Path(__file__).parent / "chaos.dsk"
EACH = 10  # faults of a run
PATIENCE = 300.0  # seconds without a new step: the machine may be busy
LAYOUTS = {
    "data 2": ("parallel.world_size=2",),
    "data 2, two nodes, saves in the background": (
        "parallel.world_size=2", "parallel.gpu_per_node=1", "checkpoint.async=true",
    ),
    "tensor 2": ("parallel.world_size=2", "parallel.tensor_model_parallel=2"),
    "pipeline 2": ("parallel.world_size=2", "parallel.pipeline_depth=2", "training.gradient_accumulation=2"),
    "data 2 x tensor 2, two nodes": (
        "parallel.world_size=4", "parallel.gpu_per_node=2", "parallel.tensor_model_parallel=2",
    ),
    "data 2, sharded parameters": ("parallel.world_size=2", "parallel.shard=parameters"),
}  # fmt: skip


def compiled(folder: Path, layout: str) -> Path:
    """The program of a layout."""
    flags = [word for setting in LAYOUTS[layout] for word in ("--set", setting)]
    command = [sys.executable, "-m", "dskc.compiler.cli", "compile", str(SPEC), "-o", str(folder), "--force", *flags]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def undisturbed(work: Path, layout: str) -> tuple[Path, Path]:
    """The program of a layout and its undisturbed run, made once."""
    place = work / layout.replace(" ", "-").replace(",", "")
    run = place / "undisturbed" / "run"
    if not (place / "program" / "train.py").exists() or not (run / "loss.png").exists():
        shutil.rmtree(place, ignore_errors=True)
        reference(compiled(place / "program", layout), place / "undisturbed", "cpu", PATIENCE)
    return place / "program", run


def one(work: Path, index: int, count: int) -> dict[str, Any]:
    """A run with `count` faults; its report, which is read where the run was made before."""
    layout = list(LAYOUTS)[index % len(LAYOUTS)]
    folder = work / f"run-{index:03}"
    if not (folder / "chaos.json").exists():
        program, straight = undisturbed(work, layout)
        faults = drawn(program, steps(straight), count, index)
        print(f"run {index}: {layout}, {count} faults", flush=True)
        result = disturb(
            program, straight, folder, faults, index, "cpu", PATIENCE, lambda text: print("  " + text, flush=True)
        )
        print(
            f"  {'FAILED: ' + '; '.join(result.failures) if result.failures else '; '.join(result.agreement)}",
            flush=True,
        )
        if not result.failures:
            shutil.rmtree(folder / "run")
    return {**json.loads((folder / "chaos.json").read_text("utf-8")), "layout": layout, "run": index}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts and medians over all runs, by kind of fault."""
    kinds: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        for fault in run["faults"]:
            kinds[fault["fault"].partition("@")[0].partition(":")[0]].append(fault)
    everything = [fault for faults in kinds.values() for fault in faults]
    return {
        "faults": len(everything),
        "fired": sum(fault["fired"] for fault in everything),
        "unnoticed": sum(fault["fired"] and not fault["event"] for fault in everything),
        "runs": len(runs),
        "runs_passed": sum(run["passed"] for run in runs),
        "seconds": round(sum(run["seconds"] for run in runs)),
        "median_seconds": medians(everything),
        "kinds": {
            kind: {
                "count": len(faults),
                "wrong": [fault["wrong"] for fault in faults if fault["wrong"]],
                "median_steps_replayed": middle(
                    [f["steps_replayed"] for f in faults if f["steps_replayed"] is not None]
                ),
                "median_seconds": medians(faults),
            }
            for kind, faults in sorted(kinds.items())
        },
    }


def medians(faults: list[dict[str, Any]]) -> dict[str, float | None]:
    """Median seconds by part, from the fault to the next new step."""
    found = [fault["seconds"] for fault in faults if fault["seconds"]]
    parts = {part: middle([seconds[part] for seconds in found]) for part in PARTS}
    return {**parts, "total": middle([sum(seconds.values()) for seconds in found])}


def table(figures: dict[str, Any]) -> str:
    """The rows of `README.md`."""
    head = ["fault", "count", "wrong", "steps again", *PARTS, "total"]
    rows = [head, ["---"] * len(head)]
    for kind, row in figures["kinds"].items():
        seconds = ["" if value is None else f"{value:.2f}" for value in row["median_seconds"].values()]
        again = "" if row["median_steps_replayed"] is None else f"{row['median_steps_replayed']:g}"
        rows.append([kind, str(row["count"]), str(len(row["wrong"])), again, *seconds])
    seconds = ["" if value is None else f"{value:.2f}" for value in figures["median_seconds"].values()]
    rows.append(
        ["all", str(figures["faults"]), str(sum(len(r["wrong"]) for r in figures["kinds"].values())), "", *seconds]
    )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def middle(values: list[float]) -> float | None:
    return round(statistics.median(values), 3) if values else None


def main() -> int:
    """Runs what is not done yet; 0 where all runs have passed."""
    disk.privately()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--work", type=Path, default=Path("build/chaos"))
    parser.add_argument("--done", action="store_true")
    flags = parser.parse_args()
    work = flags.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    now, begun, runs = machine.describe(), time.monotonic(), []
    for index in range(-(-flags.faults // EACH)):
        if flags.done and not (work / f"run-{index:03}" / "chaos.json").exists():
            continue
        runs.append(one(work, index, min(EACH, flags.faults - EACH * index)))
        done = sum(len(run["faults"]) for run in runs)
        print(f"{done} of {flags.faults} faults, {time.monotonic() - begun:.0f} s", flush=True)
    figures = {**summary(runs), "details": runs}
    print(table(figures))
    print({key: value for key, value in figures.items() if key not in ("details", "kinds")})
    print(machine.write("chaos", now, figures))
    return 0 if all(run["passed"] for run in runs) else 1


if __name__ == "__main__":
    sys.exit(main())
