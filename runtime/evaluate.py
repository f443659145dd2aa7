"""What a model reaches on held-out samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from .errors import RunError


@torch.no_grad()
def mean(
    model: nn.Module, objectives: Callable[..., dict[str, Tensor]], batches: Iterable[dict[str, Tensor]]
) -> dict[str, float]:
    """The mean of each objective over all samples, each counted once; `model` is in evaluation mode meanwhile.

    Each objective is a mean over its batch. Read from the device once, at the end.
    """
    training = model.training
    model.eval()
    sums: dict[str, Tensor] = {}
    samples = 0
    try:
        for batch in batches:
            size = len(next(iter(batch.values())))
            for name, value in objectives(**batch).items():
                sums[name] = sums.get(name, 0.0) + value.double() * size
            samples += size
    finally:
        model.train(training)
    if not samples:
        raise RunError("there are no validation samples to evaluate on")
    return {name: value.item() / samples for name, value in sums.items()}
