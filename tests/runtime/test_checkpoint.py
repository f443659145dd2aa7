"""Checkpoints: exact, whole or not there, checked, and of this model only."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from dskc.runtime import guard, optimizer, output, sound, tensorfile, writer
from dskc.runtime.checkpoint import Checkpoints, Position
from dskc.runtime.errors import RunError
from dskc.runtime.near import Tier

from . import faults


class Small(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.first = nn.Linear(4, width)
        self.norm = nn.BatchNorm1d(width)
        self.last = nn.Linear(width, 4)
        self.tied = nn.Linear(4, width)
        self.tied.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.dropout(self.norm(self.first(x) + self.tied(x)), 0.3, self.training))


def run(model: nn.Module, chosen: torch.optim.Optimizer, steps: range) -> list[float]:
    """Trains on data that depend on the step alone; what dropout draws comes from the global generator."""
    losses = []
    for step in steps:
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        loss = (model(x) - x).square().mean()
        loss.backward()
        chosen.step()
        chosen.zero_grad()
        losses.append(loss.item())
    return losses


def build(kind: str = "adamw") -> tuple[Small, torch.optim.Optimizer]:
    torch.manual_seed(5)
    model = Small()
    if kind == "sgd":
        return model, optimizer.sgd(model, lr=0.1, momentum=0.9)
    return model, optimizer.adamw(model, lr=0.1)


def saved(folder: Path, *steps: int, keep: int = 3) -> tuple[Checkpoints, Small, torch.optim.Optimizer]:
    model, adamw = build()
    checkpoints = Checkpoints(folder, plan="p", keep=keep)
    done = 0
    for step in steps:
        run(model, adamw, range(done, step))
        assert checkpoints.save(model, adamw, Position(step, 16 * step))
        done = step
    return checkpoints, model, adamw


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_resuming_is_exact(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    whole, chosen = build(kind)
    expected = run(whole, chosen, range(20))

    model, chosen = build(kind)
    checkpoints = Checkpoints(tmp_path, plan="p")
    first = run(model, chosen, range(10))
    checkpoints.save(model, chosen, Position(10, 160))

    resumed, chosen = build(kind)
    torch.manual_seed(999)
    capsys.readouterr()
    position = checkpoints.restore(resumed, chosen)
    assert position == Position(10, 160)
    assert capsys.readouterr().out == f"going on from step 10: {checkpoints.path(10)}\n"
    assert first + run(resumed, chosen, range(10, 20)) == expected
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_without_a_checkpoint_a_run_starts_at_its_start(tmp_path: Path) -> None:
    model, adamw = build()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert Checkpoints(tmp_path / "none", plan="p").restore(model, adamw) == Position(0, 0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_library_reads_the_files(tmp_path: Path) -> None:
    checkpoints, model, _ = saved(tmp_path, 1)
    found = safetensors.torch.load_file(checkpoints.path(1) / "model.safetensors")
    assert "tied.weight" not in found
    assert set(found) == set(model.state_dict()) - {"tied.weight"}
    for name, tensor in found.items():
        assert torch.equal(tensor, model.state_dict()[name])


def test_every_kind_of_tensor_survives(tmp_path: Path) -> None:
    tensors = {str(kind): torch.arange(-3, 3).to(kind).view(2, 3) for kind in tensorfile.KINDS}
    tensors |= {"scalar": torch.tensor(1.5), "empty": torch.empty(0, 3), "turned": torch.arange(6.0).view(2, 3).T}
    tensorfile.write(tmp_path / "t.safetensors", tensors)
    found = tensorfile.read(tmp_path / "t.safetensors")
    assert found.keys() == tensors.keys()
    assert all(
        torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype for name, tensor in tensors.items()
    )


def test_the_newest_are_kept(tmp_path: Path) -> None:
    checkpoints, _, _ = saved(tmp_path, 1, 2, 5, 10, keep=2)
    assert checkpoints.steps() == [5, 10]
    assert {path.name for path in tmp_path.iterdir()} == {"step-00000005", "step-00000010"}


def damage_truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def damage_flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-2] ^= 0x10
    path.write_bytes(content)


def damage_delete(path: Path) -> None:
    path.unlink()


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [damage_truncate, damage_flip, damage_delete, damage_empty])
@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors", "state.json", "manifest.json"])
def test_damage_is_noticed_and_the_one_before_is_taken(
    tmp_path: Path, name: str, damage, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints, _, _ = saved(tmp_path, 1, 2, 3)
    expected, adamw = build()
    run(expected, adamw, range(2))
    damage(checkpoints.path(3) / name)
    if (name, damage) == ("manifest.json", damage_truncate):
        return  # only its last line end is gone
    model, adamw = build()
    assert checkpoints.restore(model, adamw).step == 2
    assert all(torch.equal(tensor, expected.state_dict()[key]) for key, tensor in model.state_dict().items())
    said = capsys.readouterr().out
    assert "checkpoint of step 3 is damaged" in said
    assert name in said
    # The run reaches that step again and must be able to save there.
    assert checkpoints.save(model, adamw, Position(3, 48))
    assert checkpoints.restore(*build()).step == 3


def test_a_run_does_not_start_afresh_because_all_are_damaged(tmp_path: Path) -> None:
    checkpoints, _, _ = saved(tmp_path, 1, 2)
    for step in (1, 2):
        damage_flip(checkpoints.path(step) / "model.safetensors")
    with pytest.raises(RunError, match="none of the 2 checkpoints"):
        checkpoints.restore(*build())


def test_another_models_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoints, _, _ = saved(tmp_path, 1)
    other = Small(width=6)
    other.extra = nn.Linear(2, 2)
    del other.last
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(RunError) as caught:
        checkpoints.restore(other, optimizer.adamw(other, lr=0.1))
    message = str(caught.value)
    assert "only in the model: extra.weight, extra.bias" in message
    assert "only in the checkpoint: last.bias, last.weight" in message
    assert "first.weight [8, 4] (the model's is [6, 4])" in message
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())
    assert checkpoints.steps() == [1]


def test_another_optimizers_state_is_refused(tmp_path: Path) -> None:
    checkpoints, _, _ = saved(tmp_path, 1)
    with pytest.raises(RunError, match="by a run with AdamW, but this one uses SGD"):
        checkpoints.restore(*build("sgd"))


def test_another_plan_of_the_same_model_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(tmp_path, 1)
    assert Checkpoints(tmp_path, plan="q").restore(*build()).step == 1
    assert "another plan of the same model" in capsys.readouterr().out


def test_weights_that_are_not_finite_are_never_written(tmp_path: Path) -> None:
    checkpoints, model, adamw = saved(tmp_path, 1)
    with torch.no_grad():
        model.last.weight[0, 0] = float("nan")
    with pytest.raises(guard.NonFiniteError, match=r"after step 2 .*: last\.weight"):
        checkpoints.save(model, adamw, Position(2))
    assert checkpoints.steps() == [1]


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"

    def work() -> None:
        checkpoints, model, adamw = saved(disk / "run", 1)
        room = os.statvfs(disk)
        (disk / "filler").write_bytes(b"x" * (room.f_bavail * room.f_frsize - 4096))
        run(model, adamw, range(1, 2))
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            assert not checkpoints.save(model, adamw, Position(2, 32))
        assert "checkpoint of step 2 was not written: No space left on device" in said.getvalue()
        assert "the last good one is of step 1; training goes on" in said.getvalue()
        assert [path.name for path in (disk / "run").iterdir()] == ["step-00000001"]
        assert checkpoints.restore(*build()).step == 1
        (disk / "filler").unlink()
        assert checkpoints.save(model, adamw, Position(2, 32))

    faults.on_a_small_disk(disk, work)


def test_a_write_that_the_system_refuses_loses_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoints, model, adamw = saved(tmp_path / "run", 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, limits[1]))
    try:
        assert not checkpoints.save(model, adamw, Position(2, 32))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "File too large" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["step-00000001"]
    assert checkpoints.restore(*build()).step == 1


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    checkpoints = Checkpoints(tmp_path / "file" / "checkpoints", plan="p")
    assert not checkpoints.save(*build(), Position(2))
    assert "there is none yet; training goes on" in capsys.readouterr().out
    with pytest.raises(RunError, match=r"Not a directory.*none yet. Make room and run again"):
        checkpoints.save(*build(), Position(2), final=True)


OPERATIONS = ("write", "fsync", "rename", "rmdir", "unlink", "mkdir")


def dies_at(operation: int, folder: Path, background: bool, near: Sequence[Tier]) -> bool:
    """Saves in a child process that is gone, without any cleaning up, at its n-th change of the disk."""

    def work() -> None:
        count = 0

        def counted(original):
            def call(*args, **kwargs):
                nonlocal count
                if count == operation:
                    os._exit(9)
                count += 1
                return original(*args, **kwargs)

            return call

        model, adamw = build()
        checkpoints = Checkpoints(folder, plan="p", keep=1, background=background, near=near)
        checkpoints.restore(model, adamw)
        for name in OPERATIONS:
            setattr(os, name, counted(getattr(os, name)))
        checkpoints.save(model, adamw, Position(2, 32))
        if background:
            run(model, adamw, range(2, 3))  # training goes on meanwhile
        checkpoints.finish()

    code = faults.in_a_child(work)
    assert code in (0, 9)
    return code == 9


@pytest.mark.parametrize(("background", "on_node"), [(False, False), (True, False), (True, True)])
def test_a_kill_at_any_moment_of_a_save_leaves_a_good_checkpoint(
    tmp_path: Path, background: bool, on_node: bool
) -> None:
    _, model, _ = saved(tmp_path / "start", 1)
    steps, operation, died = set(), 0, True
    while died:
        folder = tmp_path / str(operation)
        shutil.copytree(tmp_path / "start", folder)
        near = [Tier(folder / "near")] if on_node else []
        died = dies_at(operation, folder, background, near)
        restored, adamw = build()
        checkpoints = Checkpoints(folder, plan="p", keep=1, near=near)
        steps.add(checkpoints.restore(restored, adamw).step)
        assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in restored.state_dict().items())
        # What was left unfinished is cleared by the next save.
        assert checkpoints.save(restored, adamw, Position(3, 48))
        assert checkpoints.finish()
        left = {path.name for path in folder.iterdir()} - ({"near", "run.id"} if on_node else set())
        assert left == {"step-00000003"}
        assert [path.name for path in folder.glob("near/*/.*")] == []
        operation += 1
    assert steps == {1, 2}
    assert operation > 15


def test_at_least_one_is_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Checkpoints(tmp_path, plan="p", keep=0)


def test_no_pickle_is_involved(tmp_path: Path) -> None:
    checkpoints, _, _ = saved(tmp_path, 1)
    assert {path.suffix for path in checkpoints.path(1).iterdir()} == {".json", ".safetensors"}
    assert sound.damage(checkpoints.path(1)) is None


def test_a_write_that_takes_only_a_part_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: whole(handle, data[:100]))
    checkpoints, _, _ = saved(tmp_path, 1)
    monkeypatch.undo()
    assert sound.damage(checkpoints.path(1)) is None
    assert checkpoints.restore(*build()).step == 1


@pytest.mark.parametrize("sizes", [(4096,), (40_000, 3), (65_536, 1, 8191), (3, 131_072)])
def test_large_files_are_written_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, ...]
) -> None:
    """Past the cache, through buffers: the same bytes and the same checksum, whatever the sizes."""
    tensors = {str(n): torch.randint(0, 256, (size,), dtype=torch.uint8) for n, size in enumerate(sizes)}
    expected = tensorfile.write(tmp_path / "small", tensors)
    monkeypatch.setattr(tensorfile, "LARGE", 0)
    monkeypatch.setattr(tensorfile, "Output", lambda path, write: output.Output(path, write, 8192))

    assert tensorfile.write(tmp_path / "large", tensors) == expected
    assert (tmp_path / "large").read_bytes() == (tmp_path / "small").read_bytes()
    monkeypatch.setattr(tensorfile, "PIECE", 1000)
    assert tensorfile.sha256(tmp_path / "large") == expected


def test_a_large_file_that_the_disk_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(handle: int, data: memoryview) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(tensorfile, "LARGE", 0)
    monkeypatch.setattr(tensorfile, "write_all", refuses)
    with pytest.raises(OSError, match="No space left"):
        tensorfile.write(tmp_path / "file", {"a": torch.zeros(100_000)})


def test_a_large_state_lies_in_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SPLIT", 100)
    checkpoints, model, _ = saved(tmp_path, 2)
    assert len(writer.files_of(writer.MODEL, checkpoints.path(2))) > 2
    assert len(writer.files_of(writer.TRAINING, checkpoints.path(2))) > 4
    assert sound.damage(checkpoints.path(2)) is None

    found, adamw = build()
    assert checkpoints.restore(found, adamw).step == 2
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in found.state_dict().items())
    writer.files_of(writer.MODEL, checkpoints.path(2))[1].unlink()
    assert "No such file" in str(sound.damage(checkpoints.path(2)))
