"""Generated programs whose gradient is NaN on one rank in one step: all ranks do the same, and it leaves no trace."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from dskc.compiler.build import check
from dskc.compiler.shrink import SETTINGS, merged
from dskc.runtime import parity, ranks
from dskc.runtime.layout import local, named_parameters

from .test_expert_programs import SIZES, small, written
from .test_restart import assert_same

COMMON = ("training.steps=6", "checkpoint.every=2 steps", "training.evaluate=none")
LAYOUTS = {
    "pipeline 2 x tensor 2, data 1": (
        4, ("parallel.pipeline_depth=2", "parallel.tensor_model_parallel=2", "training.gradient_accumulation=2"),
    ),
    "experts on data 2, ZeRO": (2, ("parallel.expert_parallel=2", "parallel.shard=parameters")),
}  # fmt: skip
BAD = 4  # the step


def run(folder: str, out: str, bad: int | None, told: bool) -> int:
    """Trains on this rank; rank `bad` gets a NaN in step `BAD` once, or all are `told` to refuse it without one."""
    with parity.loaded(folder) as program, contextlib.redirect_stdout(io.StringIO()) as text:
        clip, calls, mesh = program.optimizer.clip_norm, [], program.MESH

        def clip_norm(model: Any, *args: Any, **named: Any) -> Any:
            calls.append(1)
            if len(calls) == BAD and mesh.rank == bad:
                _, parameter = next(each for each in named_parameters(model) if each[1].grad is not None)
                local(parameter.grad).fill_(float("nan"))
            return clip(model, *args, **named)

        found = program.spikes.Spikes.found

        def refuse(guard: Any, values: dict[str, float]) -> str:
            return "told to" if told and len(calls) == BAD else str(found(guard, values))

        with (
            mock.patch.object(program.optimizer, "clip_norm", clip_norm),
            mock.patch.object(program.spikes.Spikes, "found", refuse),
        ):
            program.train(Path(out), None, torch.device("cpu"))
    assert mesh.rank or ("is nan" in text.getvalue()) == (bad is not None)
    return len(calls)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("guard", ["roll_back(then: retry)", "skip()"])
def test_a_step_with_a_nan_leaves_no_trace(name: str, guard: str, tmp_path: Path) -> None:
    world, layout = LAYOUTS[name]
    flags = merged(SETTINGS, SIZES, (f"parallel.world_size={world}", *layout, *COMMON, f"training.loss_guard={guard}"))
    checked = check(small(), None, flags)
    folder = str(written(checked, tmp_path / "program"))
    right, wrong = tmp_path / "right", tmp_path / "wrong"

    # What is left without the NaN: by the same steps, or by those that are made where one is refused for no reason.
    assert ranks.run(run, world, folder, str(right), None, guard == "skip()") == [6] * world
    done = ranks.run(run, world, folder, str(wrong), world - 1, False)

    assert done == [6 if guard == "skip()" else 8] * world
    assert_same(wrong, right, 6)
