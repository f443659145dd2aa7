"""Numbers that all ranks agree on: counts of targets, losses and norms summed over the mesh."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor

from .layout import Layout


@torch.no_grad()
def counted(targets: Iterable[Tensor], layout: Layout, ignore: int = -100) -> Tensor:
    """How many targets of a step count, over its micro-batches and the data axis: a float scalar, at least 1.

    `targets` are those of all micro-batches of this rank. The losses of the step are divided by it, so that each
    target has the same weight wherever it is; a step without any has loss 0.
    """
    counts = [(each != ignore).sum() for each in targets]
    total = torch.stack(counts).sum()
    axis = layout.mesh.axis("data")
    if axis.size > 1:
        dist.all_reduce(total, group=axis.group)
    return total.clamp(min=1).float()


@torch.no_grad()
def over_data(value: Tensor, layout: Layout) -> Tensor:
    """The sum over the data axis, such as of a loss that each rank has its share of."""
    total = value.detach().clone()
    axis = layout.mesh.axis("data")
    if axis.size > 1:
        dist.all_reduce(total, group=axis.group)
    return total


@torch.no_grad()
def over_stages(value: Tensor, layout: Layout) -> Tensor:
    """The sum over the data axis and the pipeline, such as of a loss that is zero on all stages but the last."""
    total = over_data(value, layout)
    axis = layout.mesh.axis("pipeline")
    if axis.size > 1:
        dist.all_reduce(total, group=axis.group)
    return total
