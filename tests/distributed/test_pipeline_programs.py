"""Whole programs of pipelines compute what they compute in one process: skips, early losses, sharing, all schedules."""

from __future__ import annotations

from pathlib import Path

import pytest

from dskc.compiler.build import check, make_plan
from dskc.compiler.emit.program import program
from dskc.compiler.emit.writer import write
from dskc.compiler.shrink import one_process
from dskc.dsl.source import Source
from dskc.runtime import parity

from ..pipeline.specs import SKIPS

TEXT = SKIPS.replace("steps: 1,", "steps: 3,").replace("gradient_accumulation: 24", "gradient_accumulation: 8")
TEXT += "checkpoint { every: none }\nobserve { progress: false, tensorboard: false }\n"
LAYOUTS = {
    "1f1b": (2, 1, "one_f_one_b"),
    "gpipe with a data axis": (2, 2, "gpipe"),
    "interleaved": (2, 1, "interleaved(2)"),
    "zero bubble": (4, 1, "zero_bubble()"),
    "zero bubble, three chunks": (2, 1, "zero_bubble(chunks: 3)"),
    "a v": (2, 1, "zero_bubble(chunks: 2)"),
}


def written(folder: Path, *flags: str, alone: bool = False) -> Path:
    checked = check(Source("skips.dsk", TEXT), None, flags)
    assert checked.spec is not None, list(checked.sink)
    assert checked.lowered is not None, list(checked.sink)
    spec = one_process(checked.spec) if alone else checked.spec
    files = program(spec, make_plan(spec, checked.lowered), checked.sink)
    assert files is not None, list(checked.sink)
    write(folder, files)
    return folder


@pytest.mark.parametrize("name", LAYOUTS)
def test_parity(name: str, tmp_path: Path) -> None:
    depth, data, schedule = LAYOUTS[name]
    flags = [f"parallel.world_size={depth * data}", f"parallel.pipeline_depth={depth}", f"parallel.schedule={schedule}"]
    one = written(tmp_path / "one", *flags, alone=True)
    several = written(tmp_path / "several", *flags)

    report = parity.compare(one, several, depth * data)

    assert report.failures == [], report.table()
