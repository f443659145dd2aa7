"""What a model reaches on held-out samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from . import totals
from .errors import RunError
from .layout import Layout, Model, modules


@torch.no_grad()
def mean(
    model: nn.Module, objectives: Callable[..., dict[str, Tensor]], batches: Iterable[dict[str, Tensor]]
) -> dict[str, float]:
    """The mean of each objective over all samples, each counted once; `model` is in evaluation mode meanwhile.

    Each objective is a mean over its batch. Read from the device once, at the end.
    """
    sums, samples = _sums(model, objectives, ((len(next(iter(batch.values()))), batch) for batch in batches))
    return {name: value.item() / samples for name, value in sums.items()}


@torch.no_grad()
def mean_over_ranks(
    model: Model,
    objectives: Callable[..., dict[str, Tensor]],
    batches: Iterable[tuple[int, dict[str, Tensor]]],
    layout: Layout,
) -> dict[str, float]:
    """`mean` on many ranks, as all of them are told: `batches` are those of `in_blocks`.

    Each objective is this rank's share of the mean over a batch of all ranks: over the data axis the shares add up to
    it. Stages of a pipeline that do not have an objective give zero for it.
    """
    sums, samples = _sums(model, objectives, batches)
    total = totals.over_stages(torch.stack(list(sums.values())), layout)
    return dict(zip(sums, (total / samples).tolist(), strict=True))


def _sums(
    model: Model, objectives: Callable[..., dict[str, Tensor]], batches: Iterable[tuple[int, dict[str, Tensor]]]
) -> tuple[dict[str, Tensor], int]:
    """Sums of objectives times samples, in float64, and the samples."""
    parts = modules(model)
    training = [part.training for part in parts]
    sums: dict[str, Tensor] = {}
    samples = 0
    try:
        for part in parts:
            part.eval()
        for size, batch in batches:
            for name, value in objectives(**batch).items():
                sums[name] = sums.get(name, 0.0) + value.double() * size
            samples += size
    finally:
        for part, mode in zip(parts, training, strict=True):
            part.train(mode)
    if not samples:
        raise RunError("there are no validation samples to evaluate on")
    return sums, samples
