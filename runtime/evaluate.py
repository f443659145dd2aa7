"""What a model reaches on held-out samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from . import health, totals
from .errors import RunError
from .layout import Layout, Model, modules

Batch = dict[str, Tensor]


@torch.no_grad()
def mean(
    model: nn.Module,
    objectives: Callable[..., dict[str, Tensor]],
    batches: Iterable[Batch],
    counted: Tensor | None = None,
    geometric: Sequence[str] = (),
) -> dict[str, float]:
    """The mean of each objective over all samples, each counted once; `model` is in evaluation mode meanwhile.

    Each objective is a mean over its batch; of those in `geometric`, such as a perplexity, the mean is the geometric
    one. `counted` is what function `counted` gives: each target that counts has the same weight then, wherever it is.
    Read from the device once, at the end.
    """
    found = _values(model, objectives, ((_size(batch), batch) for batch in batches), counted, Layout())
    return _means(*found, geometric)


@torch.no_grad()
def mean_over_ranks(
    model: Model,
    objectives: Callable[..., dict[str, Tensor]],
    batches: Iterable[tuple[int, Batch]],
    layout: Layout,
    counted: Tensor | None = None,
    geometric: Sequence[str] = (),
) -> dict[str, float]:
    """`mean` on many ranks, as all of them are told: `batches` are those of `in_blocks`.

    Each objective is this rank's share of the mean over a batch of all ranks: over the data axis the shares add up to
    it. Stages of a pipeline that do not have an objective give zero for it.
    """
    names, sizes, values = _values(model, objectives, batches, counted, layout)
    return _means(names, sizes, totals.over_stages(values, layout), geometric)


@torch.no_grad()
def counted(counts: Callable[..., Tensor], batches: Iterable[Batch]) -> Tensor:
    """How many targets count per sample of all batches, for each number that `counts` gives for one batch."""
    return _per_sample(*_counts(counts, ((_size(batch), batch) for batch in batches), 1))


@torch.no_grad()
def counted_over_ranks(counts: Callable[..., Tensor], batches: Iterable[tuple[int, Batch]], layout: Layout) -> Tensor:
    """`counted` on many ranks, as all of them are told."""
    total, samples = _counts(counts, batches, layout.mesh.axis("data").size)
    return _per_sample(totals.over_data(total, layout), samples)


def _counts(counts: Callable[..., Tensor], batches: Iterable[tuple[int, Batch]], ranks: int) -> tuple[Tensor, int]:
    """This rank's part of the counts, in float64, and the samples; a sample that several ranks have counts once."""
    total, samples = torch.zeros(()), 0
    for size, batch in batches:
        total = total + counts(**batch).double() * (size / (_size(batch) * ranks))
        samples += size
    return total, samples


def _per_sample(total: Tensor, samples: int) -> Tensor:
    if not samples:
        raise RunError("there are no validation samples to evaluate on")
    return (total / samples).float()


def _values(
    model: Model,
    objectives: Callable[..., dict[str, Tensor]],
    batches: Iterable[tuple[int, Batch]],
    counted: Tensor | None,
    layout: Layout,
) -> tuple[list[str], list[int], Tensor]:
    """Names of the objectives, the samples of each batch, and the values [batch, objective] in float64."""
    parts, ranks = modules(model), layout.mesh.axis("data").size
    training = [part.training for part in parts]
    names: list[str] = []
    sizes, rows = [], []
    try:
        for part in parts:
            part.eval()
        for size, batch in batches:
            health.pause(layout.mesh)
            known = {} if counted is None else {"counted": counted * (_size(batch) * ranks)}
            found = objectives(**batch, **known)
            names = list(found)
            sizes.append(size)
            rows.append(torch.stack([value.double() for value in found.values()]))
    finally:
        for part, mode in zip(parts, training, strict=True):
            part.train(mode)
    if not rows:
        raise RunError("there are no validation samples to evaluate on")
    return names, sizes, torch.stack(rows)


def _means(names: Sequence[str], sizes: Sequence[int], values: Tensor, geometric: Sequence[str]) -> dict[str, float]:
    chosen = torch.tensor([name in geometric for name in names], device=values.device)
    weights = torch.tensor(sizes, dtype=values.dtype, device=values.device).unsqueeze(-1)
    means = (torch.where(chosen, values.log(), values) * weights).sum(0) / sum(sizes)
    return dict(zip(names, torch.where(chosen, means.exp(), means).tolist(), strict=True))


def _size(batch: Batch) -> int:
    return len(next(iter(batch.values())))
