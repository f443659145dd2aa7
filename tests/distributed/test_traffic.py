"""What the data axis moves, as the documents say: to the byte where all of it is ours, in calls where it is FSDP's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode

from dskc.runtime.errors import RunError
from dskc.runtime.layout import Layout
from dskc.runtime.mesh import Mesh
from dskc.runtime.replicated import Replicated
from dskc.runtime.sharded import Sharded

from . import ranks
from .models import CPU, DEPTH, SPLIT, SUMMED, Net
from .test_data_parallel import built, data

PARTS = 3


def step(model: Net, gradients: Replicated | Sharded, rank: int, size: int, overlap: list[int]) -> None:
    for part in range(PARTS):
        gradients.micro_batch(last=part == PARTS - 1)
        before = len(overlap)
        model.objectives(**data(0, part, rank, size), counted=torch.tensor(1.0))["loss"].backward()
        if part < PARTS - 1:
            assert len(overlap) == before  # nothing is sent before the last micro-batch


def moved(tensor: int) -> list[Any]:
    """Bytes of each all-reduce of two steps, and how many were sent before the end of backward."""
    mesh = Mesh(data=2, tensor=tensor)
    mesh.start(CPU)
    layout = Layout(mesh, SPLIT, SUMMED)
    model, gradients = built(layout, "none")
    original, sent = dist.all_reduce, []

    def counted(value: torch.Tensor, *args: Any, **options: Any) -> Any:
        sent.append(value.nbytes)
        return original(value, *args, **options)

    dist.all_reduce = counted
    found = []
    try:
        for _ in range(2):
            sent.clear()
            step(model, gradients, mesh.axis("data").index, 2, sent)
            early = len(sent)
            gradients.finish()
            found.append((list(sent), early))
    finally:
        dist.all_reduce = original
    sizes = [p.nbytes for p in model.parameters() if p.grad is not None]
    every = len(list(model.parameters()))
    mesh.stop()
    return [found, sum(sizes), every]


@pytest.mark.parametrize("tensor", [1, 2])
def test_replicas_move_their_gradients_once_a_step(tensor: int) -> None:
    for (first, second), bytes_, every in ranks.run(moved, 2 * tensor, tensor):
        summed = [4 * DEPTH] if tensor > 1 else []  # the gradients of `scale`
        assert first[0][0] == 4 * every
        assert sum(first[0][1:]) == sum(second[0]) == bytes_ + sum(summed)
        assert first[0][len(first[0]) - len(summed) :] == summed
        assert all(size >= 400 for size in second[0][: len(second[0]) - len(summed) - 1])
        assert first[1] == 0
        assert second[1] >= len(second[0]) - len(summed) - 1  # all but the last bucket during backward


class Calls(TorchDispatchMode):
    """Names of the collectives that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            self.names.append(func.__name__)
        return func(*args, **(kwargs or {}))


def calls(shard: str) -> dict[str, int]:
    mesh = Mesh(data=2)
    mesh.start(CPU)
    model, gradients = built(Layout(mesh), shard)
    with Calls() as recorded:
        step(model, gradients, mesh.axis("data").index, 2, [])
        gradients.finish()
    mesh.stop()
    return {name: sum(name in call for call in recorded.names) for name in ("allgather", "reduce_scatter")}


UNITS = DEPTH + 1  # each layer, and the rest


@pytest.mark.parametrize(
    ("shard", "gathers", "scatters"),
    [
        ("optimizer", UNITS, UNITS),
        ("gradients", UNITS, PARTS * UNITS),
        ("parameters", PARTS * (2 * DEPTH + 1), PARTS * UNITS),
    ],
)
def test_shards_are_gathered_and_scattered_as_documented(shard: str, gathers: int, scatters: int) -> None:
    assert ranks.run(calls, 2, shard) == [{"allgather": gathers, "reduce_scatter": scatters}] * 2


class Late(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.early, self.late, self.frozen = (torch.nn.Parameter(torch.ones(2)) for _ in range(3))
        self.frozen.requires_grad_(False)


def a_gradient_that_comes_late() -> str:
    mesh = Mesh(data=2)
    mesh.start(CPU)
    model = Late()
    gradients = Replicated(model, Layout(mesh))
    for _ in range(2):
        gradients.micro_batch(last=True)
        (model.early * model.frozen).sum().backward()
        gradients.finish()
    assert (model.late.grad, model.frozen.grad) == (None, None)
    assert model.early.grad is not None
    assert model.early.grad.tolist() == [6.0, 6.0]  # (1 + 1), then (2 + 1) on each of two ranks
    gradients.micro_batch(last=True)
    model.late.sum().backward()
    with pytest.raises(RunError) as caught:
        gradients.finish()
    mesh.stop()
    return str(caught.value)


def test_a_parameter_that_nobody_adds_up_is_an_error() -> None:
    for message in ranks.run(a_gradient_that_comes_late, 2):
        assert message.startswith("late got a gradient in this step, but on no rank in the first one")


def on_one_rank_only() -> list[list[float] | None]:
    mesh = Mesh(data=2)
    mesh.start(CPU)
    model = Late()
    gradients = Replicated(model, Layout(mesh))
    gradients.micro_batch(last=True)
    (model.early.sum() if mesh.rank else model.late.sum()).backward()
    gradients.finish()
    mesh.stop()
    return [None if p.grad is None else p.grad.tolist() for p in model.parameters()]


def test_a_gradient_of_one_rank_reaches_the_other() -> None:
    assert ranks.run(on_one_rank_only, 2) == [[[1.0, 1.0], [1.0, 1.0], None]] * 2
