"""Checkpoints of many ranks: any layout resumes any other to the bit, and all ranks come to the same end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from dskc.runtime import checkpoint, export, optimizer, sound, tensorfile, totals
from dskc.runtime.checkpoint import Checkpoints, Position
from dskc.runtime.errors import RunError
from dskc.runtime.guard import NonFiniteError
from dskc.runtime.layout import Layout
from dskc.runtime.mesh import Mesh
from dskc.runtime.parts import Parts
from dskc.runtime.writer import files_of

from . import ranks
from .models import CPU, SPLIT, SUMMED, Net, counts
from .test_data_parallel import built, data

Sizes = tuple[int, int, str]  # ranks of the data and of the tensor axis, and what is sharded
LAYOUTS: tuple[Sizes, ...] = (
    (1, 1, "none"), (2, 1, "none"), (2, 1, "parameters"), (4, 1, "optimizer"), (1, 4, "none"), (2, 2, "none"),
    (2, 2, "gradients"),
)  # fmt: skip


class Run:
    """A small run under a layout, with its checkpoints."""

    def __init__(self, sizes: Sizes, folder: str) -> None:
        self.data, tensor, shard = sizes
        self.mesh = Mesh(data=self.data, tensor=tensor)
        self.mesh.start(CPU)
        self.layout = Layout(self.mesh, SPLIT, SUMMED)
        self.model, self.gradients = built(self.layout, shard)
        self.updates = optimizer.adamw(self.model, lr=0.05, weight_decay=0.1)
        self.checkpoints = Checkpoints(Path(folder), "p", keep=5, layout=self.layout)

    def train(self, steps: range) -> list[float]:
        losses = []
        for step in steps:
            part = data(step, 0, self.mesh.axis("data").index, self.data)
            counted = totals.counted(counts, [part], self.layout)
            self.gradients.micro_batch(last=True)
            loss = self.model.objectives(**part, counted=counted)["loss"]
            loss.backward()
            self.gradients.finish()
            self.model.seen += 1
            self.updates.step()
            self.updates.zero_grad()
            losses.append(totals.over_data(loss, self.layout).item())
        return losses

    def save(self, step: int, final: bool = False) -> bool:
        with torch.no_grad():  # as an evaluation does, after which FSDP holds gathered parameters
            self.model(data(0, 0, 0, 1)["tokens"])
        return self.checkpoints.save(self.model, self.updates, Position(step, 8 * step), final)

    def restore(self) -> Position:
        return self.checkpoints.restore(self.model, self.updates)


def starts(sizes: Sizes, folder: str) -> None:
    run = Run(sizes, folder)
    run.train(range(3))
    assert run.save(3)
    run.mesh.stop()


def goes_on(sizes: Sizes, folder: str) -> tuple[Position, bool, list[float]]:
    run = Run(sizes, folder)
    position = run.restore()
    saved = run.save(4)
    losses = run.train(range(3, 5))
    run.mesh.stop()
    return position, saved, losses


def state_of(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """The whole tensors of a checkpoint; random states belong to ranks."""
    found = Parts(files_of(name, folder))
    return {key: found.read(key) for key in found.names() if not key.startswith("random/")}


def same(one: Path, other: Path) -> None:
    for name in (checkpoint.MODEL, checkpoint.TRAINING):
        first, second = (state_of(path, name) for path in (one, other))
        assert set(first) == set(second)
        assert [key for key in first if not torch.equal(first[key], second[key])] == []
        assert len(first) > 10


@pytest.mark.parametrize("sizes", LAYOUTS, ids=str)
def test_any_layout_resumes_any_other(sizes: Sizes, tmp_path: Path) -> None:
    """From one layout to another, and on from that to one process: to the bit."""
    others = [other for other in LAYOUTS if other != sizes]
    other = others[LAYOUTS.index(sizes) * 2 % len(others)]
    ranks.run(starts, sizes[0] * sizes[1], sizes, str(tmp_path))

    found = ranks.run(goes_on, other[0] * other[1], other, str(tmp_path))
    assert all(entry[:2] == (Position(3, 24), True) for entry in found)
    same(tmp_path / "step-00000003", tmp_path / "step-00000004")
    assert sound.damage(tmp_path / "step-00000004") is None
    (alone,) = ranks.run(goes_on, 1, (1, 1, "none"), str(tmp_path))
    assert alone[0] == Position(4, 32)
    for _, _, losses in found:
        assert losses == pytest.approx(alone[2], rel=1e-5)


def halves(sizes: Sizes, folder: str) -> tuple[list[float], list[float]]:
    run = Run(sizes, folder)
    whole = run.train(range(6))
    run = Run(sizes, folder)
    first = run.train(range(3))
    run.save(3)
    run = Run(sizes, folder)
    run.restore()
    found = first + run.train(range(3, 6))
    run.mesh.stop()
    return whole, found


@pytest.mark.parametrize("sizes", [(2, 1, "none"), (2, 2, "parameters")], ids=str)
def test_resuming_in_the_same_layout_is_exact(sizes: Sizes, tmp_path: Path) -> None:
    for whole, found in ranks.run(halves, sizes[0] * sizes[1], sizes, str(tmp_path)):
        assert whole == found


def disk_full_at(write: int, folder: str) -> tuple[bool, str, list[int]]:
    """The first rank's disk takes a number of writes only."""
    run = Run((2, 2, "parameters"), folder)
    run.train(range(1))
    assert run.save(1)
    original, done = tensorfile.write_all, 0

    def counted(handle: int, data: memoryview) -> None:
        nonlocal done
        done += 1
        if done > write:
            raise OSError(28, os.strerror(28))
        original(handle, data)

    tensorfile.write_all = counted
    try:
        went_on = run.save(2)
        with pytest.raises(RunError) as caught:
            run.save(2, final=True)
    finally:
        tensorfile.write_all = original
    run.mesh.stop()
    return went_on, str(caught.value), run.checkpoints.steps()


@pytest.mark.parametrize("write", [0, 1, 5, 20, 50])
def test_a_full_disk_is_told_to_all_and_nobody_waits(write: int, tmp_path: Path) -> None:
    for went_on, message, steps in ranks.run(disk_full_at, 4, write, str(tmp_path), timeout=60):
        assert not went_on
        assert "step 2 was not written: No space left on device" in message
        assert steps == [1]
    assert {path.name for path in tmp_path.iterdir()} == {"step-00000001"}


def not_finite_on_one(folder: str) -> tuple[str, str, list[int]]:
    run = Run((1, 2, "none"), folder)
    if run.mesh.rank == 1:
        run.model.layers[0].up.weight.data[0, 0] = float("nan")
    with pytest.raises(RunError) as caught:
        run.save(1)
    run.mesh.stop()
    return type(caught.value).__name__, str(caught.value), run.checkpoints.steps()


def test_a_weight_that_is_not_finite_on_one_rank_stops_all(tmp_path: Path) -> None:
    for rank, (kind, message, steps) in enumerate(ranks.run(not_finite_on_one, 2, str(tmp_path))):
        assert kind == (NonFiniteError if rank else RunError).__name__
        assert message.startswith("rank 1: after step 1 these weights are NaN or infinite: layers.0.up.weight")
        assert steps == []


def test_damage_is_seen_by_the_first_and_believed_by_all(tmp_path: Path) -> None:
    sizes = (2, 2, "parameters")
    ranks.run(starts, 4, sizes, str(tmp_path))
    ranks.run(goes_on, 4, sizes, str(tmp_path))
    newest = files_of(checkpoint.MODEL, tmp_path / "step-00000004")[-1]
    data = bytearray(newest.read_bytes())
    data[-3] ^= 1
    newest.write_bytes(data)

    found = ranks.run(goes_on, 4, sizes, str(tmp_path))
    assert [entry[0] for entry in found] == [Position(3, 24)] * 4
    assert (tmp_path / "damaged-step-00000004").is_dir()


def background(folder: str) -> list[bool]:
    """Saves with training in between, as `halves` does without; then one that the disk of the last rank refuses."""
    run = Run((2, 2, "parameters"), folder)
    run.checkpoints = Checkpoints(Path(folder), "p", keep=5, layout=run.layout, background=True)
    with run.checkpoints:
        run.train(range(3))
        run.save(3)
        run.train(range(3, 5))
        run.save(5)
        run.train(range(5, 6))
        done = [run.checkpoints.finish()]
        if run.mesh.rank == 3:
            tensorfile.write_all = full
        done += [run.save(6), run.checkpoints.finish()]
    run.mesh.stop()
    return done


def full(handle: int, data: memoryview) -> None:
    raise OSError(28, os.strerror(28))


def in_turn(folder: str) -> None:
    run = Run((2, 2, "parameters"), folder)
    for first, last in ((0, 3), (3, 5)):
        run.train(range(first, last))
        run.save(last)
    run.mesh.stop()


def test_saves_in_the_background_are_those_of_their_steps(tmp_path: Path) -> None:
    ranks.run(in_turn, 4, str(tmp_path / "sync"))
    assert ranks.run(background, 4, str(tmp_path / "async"), timeout=60) == [[True, True, False]] * 4
    for step in ("step-00000003", "step-00000005"):
        files = [sorted((tmp_path / kind / step).iterdir()) for kind in ("sync", "async")]
        assert len(files[0]) == 10
        assert [(each.name, each.read_bytes()) for each in files[0]] == [(e.name, e.read_bytes()) for e in files[1]]
    assert {path.name for path in (tmp_path / "async").iterdir()} == {"step-00000003", "step-00000005"}


def refused(folder: str) -> str:
    run = Run((1, 2, "none"), folder)
    run.model.extra = torch.nn.Linear(2, 2)
    with pytest.raises(RunError) as caught:
        run.restore()
    run.mesh.stop()
    return str(caught.value)


def test_another_models_checkpoint_is_refused_by_all(tmp_path: Path) -> None:
    ranks.run(starts, 1, (1, 1, "none"), str(tmp_path))

    for message in ranks.run(refused, 2, str(tmp_path)):
        assert "only in the model: extra.weight, extra.bias" in message


def unfinished(folder: str) -> list[Any]:
    run = Run((2, 1, "none"), folder)
    position = run.restore()
    for path in Path(folder).glob("step-*"):
        assert not run.mesh.first or path.is_dir()
    run.mesh.stop()
    return [position.step, position.samples]


def test_all_damaged_stops_all_ranks(tmp_path: Path) -> None:
    assert ranks.run(unfinished, 2, str(tmp_path)) == [[0, 0]] * 2
    ranks.run(starts, 1, (1, 1, "none"), str(tmp_path))
    (tmp_path / "step-00000003" / checkpoint.STATE).unlink()

    with pytest.raises(ranks.RankError) as caught:
        ranks.run(unfinished, 2, str(tmp_path))
    for rank in (0, 1):
        assert f"rank {rank}: Traceback" in str(caught.value)
    assert "none of the 1 checkpoints in" in str(caught.value)


def exported(sizes: Sizes, file: str) -> None:
    run = Run(sizes, file)
    export.safetensors(run.model, Path(file), run.layout)
    run.mesh.stop()


def test_weights_are_exported_whole(tmp_path: Path) -> None:
    ranks.run(exported, 4, (2, 2, "parameters"), str(tmp_path / "m.safetensors"))

    model = Net()
    model.initialize(3)
    found = tensorfile.read(tmp_path / "m.safetensors")
    assert found.keys() == model.state_dict().keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in model.state_dict().items())
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]


class Stage(torch.nn.Module):
    """Stages hold a copy of `shared` each."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.shared = torch.nn.Linear(2, 3)
        for name in names:
            self.add_module(name, torch.nn.BatchNorm1d(2))


STAGES = ("first", "second"), ("third", "fourth")


def of_stages(folder: str, saves: bool) -> dict[str, torch.Tensor]:
    mesh = Mesh(pipeline=2, data=2)
    mesh.start(CPU)
    layout = Layout(mesh, tied={"shared.weight": (0, 1), "shared.bias": (0, 1)})
    stages = [Stage(name) for name in STAGES[mesh.axis("pipeline").index]]
    stages[1].shared = stages[0].shared
    updates = optimizer.sgd(stages, lr=0.1, momentum=0.9)
    checkpoints = Checkpoints(Path(folder), "p", layout=layout)
    if saves:
        for stage in stages:
            fill(stage)
        sum(p.sum() for stage in stages for p in stage.parameters()).backward()
        updates.step()
        checkpoints.save(stages, updates, Position(1))
    else:
        checkpoints.restore(stages, updates)
        export.safetensors(stages, Path(folder) / "whole.safetensors", layout)
    mesh.stop()
    return {name: tensor for stage in stages for name, tensor in stage.state_dict().items()}


def fill(module: torch.nn.Module) -> None:
    """Each tensor has values of its own name."""
    for name, tensor in module.state_dict().items():
        tensor.copy_(torch.arange(tensor.numel()).view(tensor.shape) + len(name) * 10)


def test_stages_of_a_pipeline_make_one_checkpoint(tmp_path: Path) -> None:
    saved = ranks.run(of_stages, 4, str(tmp_path), True)
    whole = Stage(*STAGES[0], *STAGES[1])

    assert Checkpoints(tmp_path, "p").restore(whole, optimizer.sgd(whole, lr=0.1, momentum=0.9)) == Position(1)
    state = whole.state_dict()
    assert set(saved[0]) | set(saved[2]) == set(state)
    for rank in (*saved, *ranks.run(of_stages, 4, str(tmp_path), False)):
        assert len(rank) == 12
        assert all(torch.equal(tensor, state[name]) for name, tensor in rank.items())
    exported = tensorfile.read(tmp_path / "whole.safetensors")
    assert exported.keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in exported.items())
