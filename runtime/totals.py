"""Numbers that all ranks agree on: counts of targets, losses and norms summed over the mesh."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from .layout import Layout


@torch.no_grad()
def counted(
    counts: Callable[..., Tensor], batches: Sequence[Mapping[str, Tensor]], layout: Layout | None = None
) -> Tensor:
    """How many targets of a micro-batch of all data ranks count, on average over the `batches` of a step; at least 1.

    `counts` gives the numbers of one batch, for each of the model's masks; `batches` are all micro-batches of this
    rank. A loss of a micro-batch is divided by it. The mean of the losses of all micro-batches is then the sum over all
    targets of the step by their number, as if they were one batch; a step without any has loss 0.
    """
    total = torch.stack([counts(**batch) for batch in batches]).sum(0)
    if layout is not None:
        total = over_data(total, layout)
    return total.clamp(min=1).float() / len(batches)


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
