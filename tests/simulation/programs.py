"""Small programs on a mesh, by hand: FSDP2 over the data axis, split matrices over the tensor axis, a pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.pipelining import PipelineStage, schedules

from dskc.runtime.simulation.events import Record, packed, unpacked
from dskc.runtime.simulation.fake import alone
from dskc.runtime.simulation.forked import forked

AXES = ("pipeline", "data", "tensor")
HERE = Path(__file__).parent


class Reduce(torch.autograd.Function):
    """Sums forward, keeps the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        x = x.clone()
        dist.all_reduce(x, group=group)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class Copy(torch.autograd.Function):
    """Keeps the value, sums its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.clone()
        dist.all_reduce(gradient, group=ctx.group)
        return gradient, None


class Layer(nn.Module):
    def __init__(self, dim: int, tensor: int, group: dist.ProcessGroup) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(dim, 4 * dim // tensor), nn.Linear(4 * dim // tensor, dim, bias=False)
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        return x + Reduce.apply(self.down(F.relu(self.up(Copy.apply(x, self.group)))), self.group)


@dataclass(frozen=True)
class Run:
    """Sizes of a program."""

    pipeline: int = 2
    data: int = 2
    tensor: int = 2
    schedule: str = "Schedule1F1B"
    chunks: int = 1
    micro_batches: int = 4
    dim: int = 12
    depth: int = 2

    @property
    def world(self) -> int:
        return self.pipeline * self.data * self.tensor

    def stages(self, index: int) -> list[int]:
        """Stages of a rank of the pipeline; two schedules lay them out as a V."""
        if self.schedule in ("ScheduleZBVZeroBubble", "ScheduleDualPipeV"):
            return [index, 2 * self.pipeline - 1 - index]
        return [index + self.pipeline * chunk for chunk in range(self.chunks)]

    def step(self) -> None:
        """Builds this rank's part and trains one step."""
        mesh = init_device_mesh("cpu", (self.pipeline, self.data, self.tensor), mesh_dim_names=AXES)
        stages = [self._stage(mesh, index) for index in self.stages(mesh["pipeline"].get_local_rank())]
        kind = getattr(schedules, self.schedule)
        several = issubclass(kind, schedules.PipelineScheduleMulti)

        def loss(output: Tensor, target: Tensor) -> Tensor:
            return F.mse_loss(output, target)

        runner = kind(stages if several else stages[0], self.micro_batches, loss_fn=loss, scale_grads=False)
        batch = torch.zeros(3 * self.micro_batches, self.dim)
        inputs = (batch,) if any(stage.is_first for stage in stages) else ()
        outputs = {"target": batch, "losses": []} if any(stage.is_last for stage in stages) else {}
        runner.step(*inputs, **outputs)

    def _stage(self, mesh: Any, index: int) -> PipelineStage:
        group = mesh["tensor"].get_group()
        layers = nn.Sequential(*(Layer(self.dim, self.tensor, group) for _ in range(self.depth)))
        for layer in layers:
            fully_shard(layer, mesh=mesh["data"])
        fully_shard(layers, mesh=mesh["data"])
        example = torch.zeros(3, self.dim, requires_grad=True)
        return PipelineStage(
            layers, index, self.pipeline * self.chunks, torch.device("cpu"),
            input_args=example, output_args=example, group=mesh["pipeline"].get_group(),
        )  # fmt: skip


@cache
def records(run: Run) -> dict[int, Record]:
    """What every rank of a program says."""
    return {rank: unpacked(forked(partial(_said, run, rank))) for rank in range(run.world)}


def _said(run: Run, rank: int) -> dict[str, Any]:
    with alone(rank, run.world, HERE) as recorder:
        run.step()
    return packed(recorder.record)
