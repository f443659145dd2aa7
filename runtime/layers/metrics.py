"""Metrics of logits [..., classes] and targets [...]: numbers to watch, without gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import collectives
from ..mesh import Axis
from .losses import cross_entropy, split_cross_entropy


@torch.no_grad()
def counted(targets: Tensor, *samples: Axis, ignore: int = -100) -> Tensor:
    """The number of targets that are not ignored; `samples` are axes whose ranks have others, which count as well."""
    return _over((targets != ignore).sum(), samples)


@torch.no_grad()
def accuracy(
    logits: Tensor, targets: Tensor, top: int = 1, ignore: int = -100, total: Tensor | int | None = None
) -> Tensor:
    """Share of the targets, less ignored ones, that are among the `top` largest logits.

    With `total`, the number of counted targets of all ranks, it is what these samples add to the share of all.
    """
    hits = (logits.topk(top, -1).indices == targets.unsqueeze(-1)).any(-1)
    return (hits & (targets != ignore)).sum() / (counted(targets, ignore=ignore) if total is None else total)


@torch.no_grad()
def split_accuracy(
    logits: Tensor, targets: Tensor, axis: Axis, ignore: int = -100, total: Tensor | int | None = None
) -> Tensor:
    """`accuracy` of the largest logit where each rank of `axis` has its block of the classes, fewer than 2**24."""
    value, index = logits.max(-1)
    best = torch.stack((value.float(), (index + axis.index * logits.shape[-1]).float()))
    values, numbers = collectives.all_gather(best.unsqueeze(0), axis, 0).unbind(1)
    chosen = numbers.where(values == values.amax(0), logits.shape[-1] * axis.size).amin(0)
    hits = (chosen == targets) & (targets != ignore)
    return hits.sum() / (counted(targets, ignore=ignore) if total is None else total)


@torch.no_grad()
def perplexity(
    logits: Tensor, targets: Tensor, *samples: Axis, ignore: int = -100, total: Tensor | None = None
) -> Tensor:
    """e to the power of the mean cross entropy; `samples` are axes whose ranks have other samples.

    `total` is the number of counted targets that the mean is taken over, unless it is that of these samples.
    """
    losses = cross_entropy(logits, targets, ignore, total=1)
    return _perplexity(losses, counted(targets, ignore=ignore), samples, total)


@torch.no_grad()
def split_perplexity(
    logits: Tensor, targets: Tensor, axis: Axis, *samples: Axis, ignore: int = -100, total: Tensor | None = None
) -> Tensor:
    """`perplexity` where each rank of `axis` has its block of the classes."""
    losses = split_cross_entropy(logits, targets, axis, ignore, total=1)
    return _perplexity(losses, counted(targets, ignore=ignore), samples, total)


def _perplexity(losses: Tensor, count: Tensor, samples: tuple[Axis, ...], total: Tensor | None) -> Tensor:
    """Of the sum of losses, added up over axes, and of their number, unless the total is known."""
    if total is not None:
        return (_over(losses, samples) / total).exp()
    sums = _over(torch.stack((losses, count)), samples)
    return (sums[0] / sums[1]).exp()


def _over(numbers: Tensor, axes: tuple[Axis, ...]) -> Tensor:
    """The sum over all ranks of some axes."""
    for axis in axes:
        numbers = collectives.all_reduce(numbers.float(), axis)
    return numbers
