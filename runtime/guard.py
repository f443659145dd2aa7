"""Stops a run whose numbers are no longer numbers."""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
from torch import Tensor

from . import health
from .errors import StopError
from .layout import Layout


class NonFiniteError(StopError):
    """A loss, a gradient norm or a weight is NaN or infinite."""


def finite(step: int, loss: Tensor, gradient_norm: Tensor, layout: Layout | None = None) -> dict[str, float]:
    """Loss and norm as numbers, as `read` gives them; `NonFiniteError`, on all ranks, if one is NaN or infinite."""
    values = read(loss, gradient_norm, layout)
    broken = [f"{name} is {number}" for name, number in values.items() if not math.isfinite(number)]
    if broken:
        raise NonFiniteError(
            f"step {step}: {', '.join(broken)}. The run stops here and writes no checkpoint of it; "
            "start again from the last good one with a lower learning rate, a longer warm-up or a tighter clip"
        )
    return values


@torch.no_grad()
def read(loss: Tensor, gradient_norm: Tensor, layout: Layout | None = None) -> dict[str, float]:
    """The loss of the step and the norm as numbers, the same on all ranks, from the device in one transfer.

    `loss` is this rank's share: over the data axis the shares add up to it, and on stages of a pipeline that do not
    have it, it is zero. One sum over all ranks makes the loss, whatever the layout; a loss that is NaN or infinite
    on one rank only, which the others would not see, makes it NaN. With it the ranks agree on whether to leave.
    """
    loss = loss.detach().float()
    heard = torch.stack([loss, torch.full_like(loss, health.leaving())])
    if layout is not None and layout.mesh.world > 1:
        heard[0] *= layout.mesh.axis("tensor").index == 0  # ranks of the tensor axis have the same loss; NaN * 0 is NaN
        dist.all_reduce(heard)
    *numbers, leave = torch.cat([heard[:1], gradient_norm.detach().float().reshape(1), heard[1:]]).tolist()
    health.agreed(leave > 0)
    return dict(zip(("loss", "gradient_norm"), numbers, strict=True))
