"""The file of weights: whole, replaced only by a whole one."""

import os
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from dskc.runtime import export
from dskc.runtime.errors import RunError


def test_the_file_holds_what_the_model_holds(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))

    export.safetensors(model, tmp_path / "out/model.safetensors")
    export.safetensors(model, tmp_path / "out/model.safetensors")

    found = safetensors.torch.load_file(tmp_path / "out/model.safetensors")
    assert found.keys() == model.state_dict().keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in model.state_dict().items())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model.safetensors"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    export.safetensors(nn.Linear(3, 2), path)
    before = path.read_bytes()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(RunError, match="No space left on device; nothing was changed"):
        export.safetensors(nn.Linear(3, 2), path)

    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["model.safetensors"]
