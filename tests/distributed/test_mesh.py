"""Where each rank stands in the mesh, and what a wrong start is told."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from dskc.runtime.errors import RunError
from dskc.runtime.mesh import Mesh

from . import ranks

CPU = torch.device("cpu")
MESH = Mesh(pipeline=2, data=2, tensor=2)
TENSOR = MESH.axis("tensor")


def places() -> tuple[int, int, int, int, bool, list[list[int]], list[int]]:
    assert MESH.start(CPU) == CPU
    axes = [MESH.axis(name) for name in ("pipeline", "data", "tensor")]
    groups = [dist.get_process_group_ranks(axis.group) for axis in axes]
    data = MESH.data_mesh.mesh.tolist()
    first = MESH.first
    found = (MESH.rank, *(axis.index for axis in axes), first, groups, data)
    MESH.stop()
    return found  # type: ignore[return-value]


def test_the_tensor_axis_is_innermost() -> None:
    found = ranks.run(places, 8)

    for rank, (own, pipeline, data, tensor, first, groups, data_mesh) in enumerate(found):
        assert own == rank == (pipeline * 2 + data) * 2 + tensor
        assert first == (rank == 0)
        assert groups == [[rank % 4, rank % 4 + 4], [rank - 2 * data, rank - 2 * data + 2],
                          [rank - tensor, rank - tensor + 1]]  # fmt: skip
        assert data_mesh == groups[1]


def lifetime() -> list[str]:
    messages = []
    for _ in range(2):  # a mesh can be started again
        with pytest.raises(RunError) as caught:
            TENSOR.index  # noqa: B018
        messages.append(str(caught.value))
        MESH.start(CPU)
        MESH.stop()
    with pytest.raises(RunError) as caught:
        Mesh(data=4).start(CPU)
    return [*messages, str(caught.value)]


def test_an_axis_says_that_it_is_too_early_and_a_mesh_that_it_is_of_another_size() -> None:
    for early, again, wrong in ranks.run(lifetime, 8):
        assert early == again == "the tensor axis has no ranks before the mesh is started: call Mesh.start first"
        assert wrong.startswith("8 processes were started, but this program is for 4 processes (pipeline 1 x data 4")
        assert "torchrun --nproc-per-node 4" in wrong


def test_without_torchrun_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.argv", ["build/gpt/train.py"])

    with pytest.raises(RunError, match=r"RANK, WORLD_SIZE, .*\n +torchrun --nproc-per-node 8 train.py"):
        MESH.start(CPU)

    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "29500")
    with pytest.raises(RunError, match=r"^1 process was started, but this program is for 8 processes"):
        MESH.start(CPU)


def test_a_mesh_of_one_rank_needs_no_other() -> None:
    mesh = Mesh()

    assert mesh.start(CPU) == CPU
    assert (mesh.rank, mesh.first, mesh.axis("data").index) == (0, True, 0)
    mesh.stop()


def test_sizes_are_above_zero() -> None:
    with pytest.raises(ValueError, match="the tensor axis cannot have 0 ranks"):
        Mesh(tensor=0)
