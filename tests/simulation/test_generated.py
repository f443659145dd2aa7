"""Generated programs run as each of their ranks: the ranks agree, and move to the byte what was predicted."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dskc.compiler.build import check, planned
from dskc.compiler.emit.program import program
from dskc.compiler.traffic import traffic_of
from dskc.dsl.source import Source
from dskc.runtime.errors import RunError
from dskc.runtime.simulation import recorder, shapes
from dskc.runtime.simulation.events import Call, Record, packed, unpacked
from dskc.runtime.simulation.forked import forked
from dskc.runtime.simulation.match import match
from dskc.runtime.simulation.program import trained
from dskc.runtime.simulation.run import run
from dskc.runtime.simulation.traffic import axis_of, moved

ROOT = Path(__file__).resolve().parents[2]
SPECS = (ROOT / "examples", ROOT / "tests" / "specs")
SMALL_GPT = ("model.dim=32", "model.depth=4", "data.sequence=16", "training.micro_batch_size=2")
TENSOR = ("parallel.tensor_model_parallel=2", "parallel.sequence_parallel=true")

# Example, ranks, settings.
LAYOUTS = {
    "data": ("stdlib_gpt", 2, SMALL_GPT),
    "data in fp32, uneven": ("digits", 3, ()),
    "zero 1": ("stdlib_gpt", 2, (*SMALL_GPT, "parallel.shard=optimizer")),
    "zero 2": ("stdlib_gpt", 2, (*SMALL_GPT, "parallel.shard=gradients")),
    "zero 3": ("stdlib_gpt", 3, (*SMALL_GPT, "parallel.shard=parameters")),
    "zero 3, recomputed": (
        "stdlib_gpt", 2, (*SMALL_GPT, "parallel.shard=parameters", "memory.checkpointing=sqrt"),
    ),
    "tensor": ("stdlib_gpt", 2, (*SMALL_GPT, "parallel.tensor_model_parallel=2", "training.loss_guard=skip()")),
    "sequence, recomputed": ("stdlib_gpt", 2, (*SMALL_GPT, *TENSOR, "memory.checkpointing=full")),
    "sequence, selective": ("stdlib_gpt", 2, (*SMALL_GPT, *TENSOR, "memory.checkpointing=selective")),
    "sequence x zero 2": ("stdlib_gpt", 4, (*SMALL_GPT, *TENSOR, "parallel.shard=gradients")),
    "batch norm": ("resnet50", 2, ()),
    "gathered rows": ("clip", 2, ()),
    "experts": ("deepseek_small", 2, ()),
    "zero 3, several losses": ("deepseek_small", 2, ("parallel.shard=parameters",)),
    "no pairs": ("bert", 2, ()),
    "masked targets": ("masked", 2, ()),
    "masked targets of stages": ("masked", 4, ("parallel.pipeline_depth=2",)),
    "pipeline": ("stdlib_gpt", 2, (*SMALL_GPT, "parallel.pipeline_depth=2")),
    "saved in the background": (
        "digits", 2,
        ("checkpoint.every=auto", "cluster.mtbf=6 h", "checkpoint.async=true", "checkpoint.peer_copy=true",
         "parallel.gpu_per_node=1", 'checkpoint.local="/scratch"'),
    ),
    "2 x 2 x 2, zero 1, interleaved": (
        "stdlib_gpt", 8,
        (*SMALL_GPT, *TENSOR, "parallel.pipeline_depth=2", "parallel.shard=optimizer",
         "parallel.schedule=interleaved(2)", "memory.checkpointing=full"),
    ),
    "pipeline x zero 3": (
        "stdlib_gpt", 4, (*SMALL_GPT, "parallel.pipeline_depth=2", "parallel.shard=parameters"),
    ),
    "zero bubble x data": (
        "stdlib_gpt", 4, (*SMALL_GPT, "parallel.pipeline_depth=2", "parallel.schedule=zero_bubble(2)"),
    ),
}  # fmt: skip


def simulated(name: str, ranks: int, settings: tuple[str, ...], folder: Path) -> tuple[list[str], dict[int, Record]]:
    """Where records differ from the prediction, and the records."""
    (path,) = [place / f"{name}.dsk" for place in SPECS if (place / f"{name}.dsk").exists()]
    overrides = (f"parallel.world_size={ranks}", *settings)
    checked = check(Source(str(path), path.read_text("utf-8")), None, overrides)
    plan = planned(checked)
    assert checked.spec is not None, [each.message for each in checked.sink]
    assert plan is not None, [each.message for each in checked.sink]
    files = program(checked.spec, plan, checked.sink)
    assert files is not None, [each.message for each in checked.sink]
    for file, text in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text, "utf-8")
    records = {rank: unpacked(forked(partial(_said, folder, rank, ranks))) for rank in range(ranks)}
    layout = plan.layout
    axes = {"pipeline": layout.pipeline, "data": layout.data, "tensor": layout.tensor}
    predicted = traffic_of(plan, checked.spec)
    differences = []
    for rank, record in records.items():
        seen, said = moved(record, axes), predicted[rank // (layout.data * layout.tensor)].amounts(layout)
        differences += [
            f"rank {rank}, {key}: moved {seen.get(key)}, predicted {said.get(key)}"
            for key in sorted(seen.keys() | said.keys())
            if seen.get(key) != said.get(key)
        ]
    return differences, records


def _said(folder: Path, rank: int, ranks: int) -> dict[str, Any]:
    return packed(trained(folder, rank, ranks))


@pytest.mark.parametrize(("name", "ranks", "settings"), LAYOUTS.values(), ids=LAYOUTS)
def test_ranks_agree_and_move_what_was_predicted(
    name: str, ranks: int, settings: tuple[str, ...], tmp_path: Path
) -> None:
    differences, records = simulated(name, ranks, settings, tmp_path)

    assert [finding.message for finding in match(records)] == []
    assert differences == []
    assert all(any(isinstance(event, Call) for event in record) for record in records.values())


def test_the_axis_of_a_group_is_that_on_which_its_ranks_differ() -> None:
    axes = {"pipeline": 2, "data": 2, "tensor": 2}

    assert axis_of((0, 1), axes) == "tensor"
    assert axis_of((1, 3), axes) == "data"
    assert axis_of((3, 7), axes) == "pipeline"
    assert axis_of(tuple(range(8)), axes) == "world"


def test_shapes_that_are_remembered_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("train", "model"):  # what another program has left is none of this one's
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    _, records = simulated("stdlib_gpt", 2, SMALL_GPT, tmp_path)
    monkeypatch.setattr(shapes, "PURE", frozenset())
    monkeypatch.setattr(recorder, "VIEWS", frozenset())

    assert unpacked(forked(partial(_said, tmp_path, 0, 2))) == records[0]


def test_ranks_in_processes_of_their_own_say_the_same(tmp_path: Path) -> None:
    _, records = simulated("stdlib_gpt", 2, SMALL_GPT, tmp_path)
    told: list[int] = []

    assert run(tmp_path, 2, workers=2, progress=lambda rank, seconds: told.append(rank)) == records
    assert sorted(told) == [0, 1]


def test_a_program_that_fails_is_named_with_its_rank(tmp_path: Path) -> None:
    simulated("stdlib_gpt", 2, SMALL_GPT, tmp_path)
    (tmp_path / "model.py").write_text("raise ValueError('broken')\n", "utf-8")

    with pytest.raises(RunError, match=r"(?s)rank 0.*broken"):
        run(tmp_path, 2)
