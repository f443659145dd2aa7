"""Small functions and modules that torch has no name for."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def quick_gelu(x: Tensor) -> Tensor:
    """x * sigmoid(1.702 x), the activation of CLIP."""
    return x * torch.sigmoid(1.702 * x)


class Learned(nn.Module):
    """A learned tensor; calling the module gives it."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))

    def forward(self) -> Tensor:
        """The tensor itself."""
        return self.weight


def shift(x: Tensor, by: int, dim: int = 1, fill: float = 0) -> Tensor:
    """y[i] = x[i - by] along `dim`; places that nothing moves into hold `fill`."""
    if by == 0:
        return x
    size = x.shape[dim]
    step = min(abs(by), size)
    shape = list(x.shape)
    shape[dim] = step
    empty = x.new_full(shape, fill)
    kept = x.narrow(dim, 0 if by > 0 else step, size - step)
    return torch.cat((empty, kept) if by > 0 else (kept, empty), dim)
