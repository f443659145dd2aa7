"""Optimizers with their fastest kernels, decay on what should decay, and clipping that notices a broken gradient."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from .errors import RunError


def groups(model: nn.Module, weight_decay: float, decay: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Parameter groups: `decay` names what decays (`*` stands for any text); without it, matrices and larger do."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    for pattern in decay or ():
        if not any(fnmatchcase(name, pattern) for name, _ in named):
            raise RunError(f"weight decay: no parameter is called {pattern!r}")

    def decays(name: str, parameter: Tensor) -> bool:
        return parameter.ndim >= 2 if decay is None else any(fnmatchcase(name, pattern) for pattern in decay)

    split = {True: [p for n, p in named if decays(n, p)], False: [p for n, p in named if not decays(n, p)]}
    rates = {True: weight_decay, False: 0.0}
    return [{"params": split[side], "weight_decay": rates[side]} for side in (True, False) if split[side]]


def adamw(
    model: nn.Module,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    decay: Sequence[str] | None = None,
) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, 2019) with the fused kernel; its state is float32, as the parameters are."""
    return torch.optim.AdamW(groups(model, weight_decay, decay), lr=lr, betas=betas, eps=eps, fused=True)


def sgd(
    model: nn.Module,
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


def clip_norm(model: nn.Module, limit: float = float("inf")) -> Tensor:
    """Scales all gradients together so that their norm is at most `limit`; the norm before, as a device tensor.

    A norm that is not finite is returned as it is: `guard.finite` stops the run on it.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    if limit != float("inf"):
        nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return norm
