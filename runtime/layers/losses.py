"""Losses and metrics that torch has no function for, or none that is cheap enough. All results are fp32 means."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_ROOM = {"cpu": 2**19, "cuda": 2**25}
"""Elements of logits that are fp32 at one time: 2 MiB stay in a CPU's cache, 128 MiB fill a GPU."""


def cross_entropy(logits: Tensor, targets: Tensor, ignore: int = -100, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross entropy in fp32 of logits [..., classes] of any dtype, without an fp32 copy of them.

    Keeps the logits as they are and one number per row. A compiler fuses torch's own function just as well.
    NaN where every target is ignored, as torch's function gives.
    """
    flat, rows = logits.flatten(0, -2), targets.flatten()
    if torch.compiler.is_compiling():
        return F.cross_entropy(flat.float(), rows, ignore_index=ignore, label_smoothing=label_smoothing)
    result: Tensor = _CrossEntropy.apply(flat, rows, ignore, label_smoothing)  # type: ignore[no-untyped-call]
    return result


class _CrossEntropy(torch.autograd.Function):
    """`smooth` of each target's weight is spread over all classes."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, ignore: int, smooth: float) -> Tensor:
        valid = targets != ignore
        safe = torch.where(valid, targets, 0)
        wide = torch.promote_types(logits.dtype, torch.float32)
        normaliser, mean = logits.new_empty(len(logits), dtype=wide), logits.new_zeros(len(logits), dtype=wide)
        for part in _parts(logits):
            chunk = logits[part].to(wide)
            normaliser[part] = chunk.logsumexp(-1)
            if smooth:
                mean[part] = chunk.mean(-1)
        own = logits.gather(-1, safe.unsqueeze(-1)).squeeze(-1).to(wide)
        losses = normaliser - (1 - smooth) * own - smooth * mean
        count = valid.sum()
        ctx.save_for_backward(logits, safe, valid, normaliser, count)
        ctx.smooth = smooth
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
                chunk -= ctx.smooth / logits.shape[-1]
            own = torch.full_like(targets[part].unsqueeze(-1), ctx.smooth - 1, dtype=chunk.dtype)
            chunk.scatter_add_(-1, targets[part].unsqueeze(-1), own)
            result[part] = chunk.mul_(scale[part].unsqueeze(-1))
        return result, None, None, None


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


@torch.no_grad()
def accuracy(logits: Tensor, targets: Tensor, top: int = 1, ignore: int = -100) -> Tensor:
    """Share of the targets, less ignored ones, that are among the `top` largest logits."""
    hits = (logits.topk(top, -1).indices == targets.unsqueeze(-1)).any(-1)
    valid = targets != ignore
    return (hits & valid).sum() / valid.sum()


@torch.no_grad()
def perplexity(logits: Tensor, targets: Tensor, ignore: int = -100) -> Tensor:
    """e to the power of the mean cross entropy."""
    return cross_entropy(logits, targets, ignore).exp()
