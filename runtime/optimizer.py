"""Optimizers with their fastest kernels, decay on what should decay, and clipping that notices a broken gradient."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from .errors import RunError
from .layout import Layout, Model, local, named_parameters


def groups(model: Model, weight_decay: float, decay: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Parameter groups: `decay` names what decays (`*` stands for any text); without it, matrices and larger do.

    Parameters that FSDP has sharded are in groups of their own: fused kernels take one kind of tensor at a time.
    """
    named = [(name, parameter) for name, parameter in named_parameters(model) if parameter.requires_grad]
    for pattern in decay or ():
        if isinstance(model, nn.Module) and not any(fnmatchcase(name, pattern) for name, _ in named):
            raise RunError(f"weight decay: no parameter is called {pattern!r}")

    def decays(name: str, parameter: Tensor) -> bool:
        return parameter.ndim >= 2 if decay is None else any(fnmatchcase(name, pattern) for pattern in decay)

    split: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in named:
        split.setdefault((not decays(name, parameter), isinstance(parameter, DTensor)), []).append(parameter)
    return [{"params": split[kind], "weight_decay": 0.0 if kind[0] else weight_decay} for kind in sorted(split)]


def adamw(
    model: Model,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    decay: Sequence[str] | None = None,
) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, 2019) with the fused kernel; its state is float32, as the parameters are."""
    return torch.optim.AdamW(groups(model, weight_decay, decay), lr=lr, betas=betas, eps=eps, fused=True)


def sgd(
    model: Model,
    lr: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    decay: Sequence[str] | None = None,
) -> torch.optim.SGD:
    """Stochastic gradient descent with momentum, with the fused kernel; decay is added to the gradient."""
    return torch.optim.SGD(groups(model, weight_decay, decay), lr=lr, momentum=momentum, nesterov=nesterov, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def clip_norm(model: Model, limit: float = float("inf"), layout: Layout | None = None) -> Tensor:
    """Scales all gradients together so that their norm is at most `limit`; the norm before, as a device tensor.

    Under a `layout` it is the norm of the whole model, the same number on all ranks. A norm that is not finite is
    returned as it is: `guard.finite` stops the run on it.
    """
    named = [(name, parameter) for name, parameter in named_parameters(model) if parameter.grad is not None]
    gradients = [local(parameter.grad) for _, parameter in named if parameter.grad is not None]
    if layout is None or layout.mesh.world == 1:
        norm = nn.utils.get_total_norm(gradients)
    else:
        device = next(parameter.device for _, parameter in named_parameters(model))
        counts = [_counts(name, parameter, layout) for name, parameter in named]
        norm = _norm_over_ranks(_chosen(gradients, counts, True), _chosen(gradients, counts, False), device)
    if limit != float("inf"):
        _scale(gradients, limit, norm)
    return norm


def _counts(name: str, parameter: Tensor, layout: Layout) -> bool:
    """Whether this rank's part of a gradient is in the norm: of equal copies the first one is."""
    split = layout.split_dim(name) is not None or layout.mesh.axis("tensor").index == 0
    sharded = isinstance(parameter, DTensor) or layout.copies(name).index == 0
    return split and sharded and layout.is_first_copy(name)


def _chosen(gradients: list[Tensor], counts: list[bool], kind: bool) -> list[Tensor]:
    return [gradient for gradient, count in zip(gradients, counts, strict=True) if count == kind]


def _norm_over_ranks(gradients: list[Tensor], copies: list[Tensor], device: torch.device) -> Tensor:
    """`copies` of what other ranks count add nothing, but for values that are not finite: all ranks hear of these."""
    square = torch.zeros((), device=device)
    if gradients:
        square = square + (nn.utils.get_total_norm(gradients) ** 2).to(device, torch.float32)
    if copies:
        square = square + 0.0 * nn.utils.get_total_norm(copies).to(device, torch.float32)
    dist.all_reduce(square)
    return square.sqrt()


@torch.no_grad()
def _scale(gradients: list[Tensor], limit: float, norm: Tensor) -> None:
    # The arithmetic of torch.nn.utils.clip_grads_with_norm_, which takes parameters that lie on one mesh only.
    torch._foreach_mul_(gradients, torch.clamp(limit / (norm + 1e-6), max=1.0))
