"""Losses and metrics that torch has no function for, or none that is cheap enough. All results are fp32 means."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .. import collectives
from ..mesh import Axis

_ROOM = {"cpu": 2**19, "cuda": 2**25}
"""Elements of logits that are fp32 at one time: 2 MiB stay in a CPU's cache, 128 MiB fill a GPU."""


def cross_entropy(
    logits: Tensor, targets: Tensor, ignore: int = -100, label_smoothing: float = 0.0, total: Tensor | int | None = None
) -> Tensor:
    """Mean cross entropy in fp32 of logits [..., classes] of any dtype, without an fp32 copy of them.

    With `total`, the number of counted targets of the whole step, it is the share of these samples in the mean over
    all of them: the results of micro-batches and ranks add up to it.
    Keeps the logits as they are and one number per row. A compiler fuses torch's own function just as well.
    NaN where every target is ignored, as torch's function gives.
    """
    flat, rows = logits.flatten(0, -2), targets.flatten()
    if torch.compiler.is_compiling():
        how = "mean" if total is None else "sum"
        loss = F.cross_entropy(flat.float(), rows, ignore_index=ignore, label_smoothing=label_smoothing, reduction=how)
        return loss if total is None else loss / total
    return _cross_entropy(flat, rows, ignore, label_smoothing, total, None)


def split_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    axis: Axis,
    ignore: int = -100,
    label_smoothing: float = 0.0,
    total: Tensor | int | None = None,
) -> Tensor:
    """`cross_entropy` where each rank of `axis` has its block of the classes [..., classes / ranks].

    One gather of two numbers per row; nothing moves backward. The result is whole on every rank.
    """
    return _cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore, label_smoothing, total, axis)


def _cross_entropy(
    logits: Tensor, targets: Tensor, ignore: int, smooth: float, total: Tensor | int | None, axis: Axis | None
) -> Tensor:
    result: Tensor = _CrossEntropy.apply(logits, targets, ignore, smooth, total, axis)  # type: ignore[no-untyped-call]
    return result


class _CrossEntropy(torch.autograd.Function):
    """`smooth` of each target's weight is spread over all classes."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        targets: Tensor,
        ignore: int,
        smooth: float,
        total: Tensor | int | None,
        axis: Axis | None,
    ) -> Tensor:
        valid = targets != ignore
        own = targets if axis is None else own_rows(targets, logits.shape[-1], axis)
        safe = torch.where(valid & (own >= 0), own, 0 if axis is None else -1)
        wide = torch.promote_types(logits.dtype, torch.float32)
        normaliser, mean = logits.new_empty(len(logits), dtype=wide), logits.new_zeros(len(logits), dtype=wide)
        for part in _parts(logits):
            chunk = logits[part].to(wide)
            normaliser[part] = chunk.logsumexp(-1)
            if smooth:
                mean[part] = chunk.mean(-1)
        own = logits.gather(-1, safe.clamp(min=0).unsqueeze(-1)).squeeze(-1).to(wide)
        if axis is not None:
            normaliser, own, mean = _of_all_classes(normaliser, own.where(safe >= 0, 0), mean, smooth, axis)
        losses = normaliser - (1 - smooth) * own - smooth * mean
        count = valid.sum() if total is None else torch.as_tensor(total)
        ctx.save_for_backward(logits, safe, valid, normaliser, count)
        ctx.smooth, ctx.blocks = smooth, 1 if axis is None else axis.size
        return losses.where(valid, 0).sum() / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        logits, targets, valid, normaliser, count = ctx.saved_tensors
        result = torch.empty_like(logits)
        scale = (gradient / count) * valid
        for part in _parts(logits):
            chunk = (logits[part].to(normaliser.dtype) - normaliser[part].unsqueeze(-1)).exp_()
            if ctx.smooth:
                chunk -= ctx.smooth / (logits.shape[-1] * ctx.blocks)
            target = targets[part].unsqueeze(-1)
            own = (target >= 0).to(chunk.dtype) * (ctx.smooth - 1)
            chunk.scatter_add_(-1, target.clamp(min=0), own)
            result[part] = chunk.mul_(scale[part].unsqueeze(-1))
        return result, None, None, None, None, None


def own_rows(numbers: Tensor, size: int, axis: Axis) -> Tensor:
    """Numbers of rows of a table as those of this rank's block of `size` rows; negative or too large elsewhere: -1."""
    own = numbers - axis.index * size
    return own.where((own >= 0) & (own < size), -1)


def _of_all_classes(
    normaliser: Tensor, own: Tensor, mean: Tensor, smooth: float, axis: Axis
) -> tuple[Tensor, Tensor, Tensor]:
    """Log of the sum of exponentials, the target's logit and the mean of logits, from those of each block."""
    numbers = (normaliser, own, mean) if smooth else (normaliser, own)
    blocks = collectives.all_gather(torch.stack(numbers).unsqueeze(0), axis, 0)
    return blocks[:, 0].logsumexp(0), blocks[:, 1].sum(0), blocks[:, 2].mean(0) if smooth else mean


def _parts(logits: Tensor) -> list[slice]:
    rows = max(1, _ROOM.get(logits.device.type, _ROOM["cuda"]) // logits.shape[-1])
    return [slice(start, start + rows) for start in range(0, len(logits), rows)]


def kl_divergence(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Mean over rows of KL(teacher || student) at a temperature, times its square (Hinton et al., 2015)."""
    student = (student.float() / temperature).flatten(0, -2).log_softmax(-1)
    teacher = (teacher.float() / temperature).flatten(0, -2).log_softmax(-1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


def contrastive(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
    """Symmetric InfoNCE of unit vectors [N, width]: row i of `a` belongs to row i of `b` (Radford et al., 2021)."""
    logits = (scale * a @ b.T).float()
    labels = torch.arange(len(a), device=a.device)
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def split_contrastive(a: Tensor, b: Tensor, scale: Tensor, axis: Axis) -> Tensor:
    """`contrastive` of the rows of all ranks: this rank's share, its rows against those of all."""
    a, b = a.float(), b.float()
    all_a, all_b = (collectives.all_gather_both(x, axis, 0) for x in (a, b))
    labels = torch.arange(len(a), device=a.device) + axis.index * len(a)
    rows, columns = (scale * own @ others.T for own, others in ((a, all_b), (b, all_a)))
    return (F.cross_entropy(rows.float(), labels) + F.cross_entropy(columns.float(), labels)) / (2 * axis.size)
