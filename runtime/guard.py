"""Stops a run whose numbers are no longer numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .errors import RunError


class NonFiniteError(RunError):
    """A loss, a gradient norm or a weight is NaN or infinite."""


def finite(step: int, **values: Tensor) -> dict[str, float]:
    """The scalars as numbers, read from the device in one transfer; `NonFiniteError` if one is NaN or infinite."""
    numbers = torch.stack([value.detach().float() for value in values.values()]).tolist()
    named = dict(zip(values, numbers, strict=True))
    broken = [f"{name} is {number}" for name, number in named.items() if not math.isfinite(number)]
    if broken:
        raise NonFiniteError(
            f"step {step}: {', '.join(broken)}. The run stops here and writes no checkpoint of it; "
            "start again from the last good one with a lower learning rate, a longer warm-up or a tighter clip"
        )
    return named
