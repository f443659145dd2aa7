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
