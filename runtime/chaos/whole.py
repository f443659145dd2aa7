"""A chaos run: an undisturbed reference, the disturbed run, and the comparison of their ends."""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import record
from ..errors import RunError
from . import picture, report, weights
from .account import Outcome
from .disk import Disk
from .disturbed import Disturbed, Lost
from .faults import Fault, chosen
from .job import Job, Shape
from .link import Link
from .strike import Field

Say = Callable[[str], None]


@dataclass
class Result:
    """What came out; `failures` is empty where the run has stood it."""

    outcomes: list[Outcome]
    failures: list[str] = field(default_factory=list)
    agreement: list[str] = field(default_factory=list)
    seconds: float = 0.0
    disk: str = ""


def reference(program: Path, folder: Path, device: str | None, patience: float) -> Path:
    """The run folder of an undisturbed run, made anew; `RunError` where it does not end well."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run = folder / "run"
    job = Job(program, run, Shape.of(program), None, device, folder / "output.log")
    job.launch()
    changed, size = time.monotonic(), -1
    try:
        while len(codes := job.ended()) < job.shape.nodes and not any(codes.values()):
            time.sleep(0.02)
            job.lines()
            now = (run / "metrics.jsonl").stat().st_size if (run / "metrics.jsonl").exists() else 0
            changed, size = (changed, size) if now == size else (time.monotonic(), now)
            if time.monotonic() - changed > patience:
                raise RunError(f"the undisturbed run has recorded nothing for {patience:g} s; see {folder}/output.log")
    finally:
        job.close()
    if any(codes.values()):
        raise RunError(f"the undisturbed run ended with exit code {max(codes.values())}; see {folder}/output.log")
    return run


def disturb(
    program: Path, undisturbed: Path, folder: Path, faults: Sequence[Fault],
    seed: int, device: str | None, patience: float, say: Say,
) -> Result:  # fmt: skip
    """Runs the program with faults in `folder`, compares its end, and leaves the report and the picture there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run, begun, chance = folder / "run", time.monotonic(), random.Random(seed)
    shape = Shape.of(program)
    decided = [chosen(fault, shape, chance) for fault in sorted(faults, key=lambda each: each.step)]
    disk = Disk(run / "checkpoints")
    if any(fault.kind.name == "disk-full" for fault in decided):
        disk.mount()
    done: list[Outcome] = []

    def told(outcome: Outcome) -> None:
        done.append(outcome)
        say(report.line(len(done), len(decided), outcome))

    with tempfile.TemporaryDirectory(prefix="dskc-chaos-") as place:
        link = Link(Path(place))
        job = Job(program, run, shape, link.folder, device, folder / "output.log")
        course = Disturbed(Field(job, link, run, disk, chance), decided, patience, told)
        result = Result(course.outcomes)
        try:
            course.go()
            course.finish()
            _compare(undisturbed, run, result)
        except (Lost, RuntimeError) as error:
            result.failures.append(str(error))
        finally:
            job.close()
            link.close()
            result.disk = "tmpfs" if disk.mounted else "RLIMIT_FSIZE"
            disk.close()
    result.failures += [f"{each.fault}: {each.wrong()}" for each in result.outcomes if each.wrong()]
    result.seconds = time.monotonic() - begun
    _leave(folder, program, course, result, seed)
    return result


def name(program: Path) -> str:
    """What the program trains."""
    plan = json.loads((program / "plan.json").read_text("utf-8")).get("plan", {})
    return str(plan.get("name", program.name))


def _compare(undisturbed: Path, run: Path, result: Result) -> None:
    try:
        result.agreement.append(weights.compare(undisturbed, run))
        rows = [record.read(each / "metrics.jsonl") for each in (undisturbed, run)]
        result.agreement.append(weights.compare_steps(rows[0], rows[1]))
    except weights.Unlike as error:
        result.failures.append(f"the disturbed run has another end: {error}")


def _leave(folder: Path, program: Path, course: Disturbed, result: Result, seed: int) -> None:
    seen = sorted(course.watch.seen, key=lambda each: each.time)
    start = seen[0].time if seen else 0.0
    content: dict[str, Any] = {
        "program": os.path.relpath(program, folder),
        "seed": seed,
        "passed": not result.failures,
        "failures": result.failures,
        "agreement": result.agreement,
        "seconds": round(result.seconds, 1),
        "faults": report.content(result.outcomes, start),
        "median_seconds": {part: round(value, 3) for part, value in report.medians(result.outcomes).items()},
    }
    (folder / "chaos.json").write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    title = f"{name(program)}: {sum(each.struck is not None for each in result.outcomes)} faults, "
    title += "the same end as undisturbed" if not result.failures else f"FAILED: {result.failures[0]}"
    picture.timeline(seen, result.outcomes, folder / "timeline.png", title[:110])
