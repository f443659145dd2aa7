"""Metrics of logits [..., classes] and targets [...]: numbers to watch, without gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import collectives
from ..mesh import Axis
from .losses import cross_entropy, split_cross_entropy


def counted(targets: Tensor, ignore: int = -100) -> Tensor:
    """The number of targets that are not ignored."""
    return (targets != ignore).sum()


@torch.no_grad()
def accuracy(logits: Tensor, targets: Tensor, top: int = 1, ignore: int = -100, total: Tensor | None = None) -> Tensor:
    """Share of the targets, less ignored ones, that are among the `top` largest logits.

    With `total`, the number of counted targets of all ranks, it is what these samples add to the share of all.
    """
    hits = (logits.topk(top, -1).indices == targets.unsqueeze(-1)).any(-1)
    return (hits & (targets != ignore)).sum() / (counted(targets, ignore) if total is None else total)


@torch.no_grad()
def split_accuracy(
    logits: Tensor, targets: Tensor, axis: Axis, ignore: int = -100, total: Tensor | None = None
) -> Tensor:
    """`accuracy` of the largest logit where each rank of `axis` has its block of the classes."""
    value, index = logits.max(-1)
    number = index + axis.index * logits.shape[-1]
    values, numbers = (collectives.all_gather(each.unsqueeze(0), axis, 0) for each in (value, number))
    chosen = numbers.where(values == values.amax(0), logits.shape[-1] * axis.size).amin(0)
    hits = (chosen == targets) & (targets != ignore)
    return hits.sum() / (counted(targets, ignore) if total is None else total)


@torch.no_grad()
def perplexity(logits: Tensor, targets: Tensor, *samples: Axis, ignore: int = -100) -> Tensor:
    """e to the power of the mean cross entropy; `samples` are axes whose ranks have other samples."""
    return _over(cross_entropy(logits, targets, ignore, total=_total(targets, ignore, samples)), samples).exp()


@torch.no_grad()
def split_perplexity(logits: Tensor, targets: Tensor, axis: Axis, *samples: Axis, ignore: int = -100) -> Tensor:
    """`perplexity` where each rank of `axis` has its block of the classes."""
    total = _total(targets, ignore, samples)
    return _over(split_cross_entropy(logits, targets, axis, ignore, total=total), samples).exp()


def _total(targets: Tensor, ignore: int, samples: tuple[Axis, ...]) -> Tensor:
    return _over(counted(targets, ignore), samples)


def _over(value: Tensor, axes: tuple[Axis, ...]) -> Tensor:
    """The sum over all ranks of some axes."""
    for axis in axes:
        value = collectives.all_reduce(value, axis)
    return value
