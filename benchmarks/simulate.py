"""Every rank of a layout, without its machines:  python benchmarks/simulate.py SPEC [--profile P] [--set K=V]

Compiles the spec, runs the program as each of its ranks in turn, compares what the ranks say to each other, and the
bytes that they move with those predicted from the plan. Exit code 1 where anything does not agree.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import machine

from dskc.compiler.build import check, planned
from dskc.compiler.emit.program import program
from dskc.compiler.plan import Plan
from dskc.compiler.traffic import StageTraffic, traffic_of
from dskc.dsl.source import Source
from dskc.dsl.spec import Spec
from dskc.runtime.simulation.corners import corners, spread
from dskc.runtime.simulation.events import Record
from dskc.runtime.simulation.match import match
from dskc.runtime.simulation.run import run
from dskc.runtime.simulation.traffic import moved


def main() -> int:
    """Simulates, prints, keeps the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spec", type=Path)
    parser.add_argument("--profile")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--corners", action="store_true", help="run the first and last ranks of each axis only")
    parser.add_argument("--keep", action="store_true", help="write the figures to benchmarks/results")
    flags = parser.parse_args()
    about = machine.describe()
    start = time.perf_counter()
    spec, plan, files = compiled(flags.spec, flags.profile, flags.overrides)
    figures: dict[str, Any] = {"spec": flags.spec.name, "layout": str(plan.layout), "compile": _since(start)}
    world = plan.layout.world
    print(f"{flags.spec.name}: {world} ranks, {plan.layout}; compiled in {figures['compile']:.2f} s", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = write(files, Path(name))
        start = time.perf_counter()
        axes = {name: getattr(plan.layout, name) for name in ("pipeline", "data", "tensor")}
        ranks = corners(axes) if flags.corners else list(range(world))
        records = run(folder, world, ranks, workers=flags.workers, progress=_Progress(len(ranks)))
        figures |= {"simulate": _since(start), "ranks_run": len(ranks)}
        records = spread(records, axes) if flags.corners else records
    events = sum(len(record) for record in records.values())
    print(f"\n{len(ranks)} of {world} ranks simulated in {figures['simulate']:.0f} s: {events:,} calls and waits")
    start = time.perf_counter()
    findings = [finding.message for finding in match(records)]
    figures |= {"match": _since(start), "ranks": world, "events": events, "findings": findings}
    said = "; ".join(findings) if findings else "every call has its partners, in one order, without a deadlock"
    print(f"matched in {figures['match']:.1f} s: {said}")
    differences = list(compared(plan, traffic_of(plan, spec), records))
    figures["traffic"] = [_total(stage) for stage in traffic_of(plan, spec)]
    print("\n".join(differences) if differences else "traffic: every rank moved the bytes that were predicted")
    for stage in traffic_of(plan, spec):
        print(f"  pipeline rank {stage.pipeline}: {_total(stage)}")
    if flags.keep:
        print(machine.write(f"simulate_{flags.spec.stem}", about, figures | {"differences": differences}))
    return int(bool(findings or differences))


def compiled(
    path: Path, profile: str | None = None, overrides: list[str] | None = None
) -> tuple[Spec, Plan, dict[str, str]]:
    """The spec, its placed plan and the files of its program."""
    checked = check(Source(str(path), path.read_text("utf-8")), profile, overrides or [])
    plan = planned(checked)
    files = program(checked.spec, plan, checked.sink) if checked.spec is not None and plan is not None else None
    if checked.spec is None or plan is None or files is None:
        print("\n".join(f"{each.code} {each.message}" for each in checked.sink), file=sys.stderr)
        raise SystemExit(1)
    return checked.spec, plan, files


def write(files: dict[str, str], folder: Path) -> Path:
    """Puts a program into a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return folder


def compared(plan: Plan, predicted: tuple[StageTraffic, ...], records: dict[int, Record]) -> list[str]:
    """Where a rank moved other bytes than were predicted for its place in the pipeline."""
    layout = plan.layout
    axes = {"pipeline": layout.pipeline, "data": layout.data, "tensor": layout.tensor}
    found = []
    for rank, record in records.items():
        seen, said = moved(record, axes), predicted[rank // (layout.data * layout.tensor)].amounts(layout)
        for axis, kind in sorted(seen.keys() | said.keys()):
            (calls, size), (more, expected) = seen.get((axis, kind), (0, 0)), said.get((axis, kind), (0, 0))
            if (calls, size) != (more, expected):
                what = f"{size:,} bytes in {calls} calls, predicted {expected:,} in {more}"
                found.append(f"rank {rank}, {axis} axis, {kind}: {what}")
    return found


class _Progress:
    def __init__(self, world: int) -> None:
        self._world, self._done, self._start = world, 0, time.perf_counter()

    def __call__(self, rank: int, seconds: float) -> None:
        self._done += 1
        left = (time.perf_counter() - self._start) / self._done * (self._world - self._done)
        text = f"rank {rank}: {seconds:.1f} s; {self._done} of {self._world}, about {left / 60:.1f} min left"
        print(f"\r{text:<70}", end="", file=sys.stderr, flush=True)


def _total(stage: StageTraffic) -> str:
    axes = dict.fromkeys(row.axis for row in stage.rows)
    return ", ".join(f"{axis} {stage.bytes(axis):,} bytes ({stage.wire(axis):,} on the wire)" for axis in axes)


def _since(start: float) -> float:
    return round(time.perf_counter() - start, 3)


if __name__ == "__main__":
    sys.exit(main())
