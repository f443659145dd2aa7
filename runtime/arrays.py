"""Samples held in memory as tensors: `digits`, and random ones for benchmarks and tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from . import blocks, order, philox
from .errors import RunError
from .mesh import Axis

# Changes a batch given the fields, the epoch of each sample and its id; see augment.py.
Augment = Callable[[dict[str, Tensor], Tensor, Tensor], dict[str, Tensor]]


class Arrays:
    """Fields of equal length on the device. `batch` is a pure function of the seed and of the samples consumed."""

    def __init__(self, fields: Mapping[str, Tensor], seed: int | None, augment: Augment | None = None) -> None:
        self.fields = dict(fields)
        self.seed = seed
        self.augment = augment
        self.device = next(iter(self.fields.values())).device

    def __len__(self) -> int:
        return len(next(iter(self.fields.values())))

    def batch(self, first: int, size: int, data: Axis | None = None) -> dict[str, Tensor]:
        """Samples first..first+size-1 of the endless shuffled stream, augmented: each field [B, ...].

        With an axis they are this rank's: each of its ranks takes the next `size` samples.
        """
        first = blocks.first_of(first, size, data)
        epochs, ids = (torch.from_numpy(part) for part in order.sample_ids(first, size, len(self), self.seed))
        epochs, ids = epochs.to(self.device), ids.to(self.device)
        batch = {name: field[ids] for name, field in self.fields.items()}
        return self.augment(batch, epochs, ids) if self.augment else batch

    def in_order(self, size: int) -> Iterator[dict[str, Tensor]]:
        """Every sample once and unchanged, in batches of `size`; the last may be smaller."""
        for start in range(0, len(self), size):
            yield {name: field[start : start + size] for name, field in self.fields.items()}

    def in_blocks(self, size: int, data: Axis) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """Every sample once over all ranks of an axis: how many they have together, and this rank's batch."""
        for samples, ids in blocks.in_order(len(self), size, data):
            chosen = torch.from_numpy(ids).to(self.device)
            yield samples, {name: field[chosen] for name, field in self.fields.items()}

    def split(self, share: float, seed: int) -> tuple[Arrays, Arrays]:
        """Training and validation samples: a permutation chosen by `seed` puts the first `share` of them aside."""
        held_out = round(len(self) * share)
        if not 0 < held_out < len(self):
            raise RunError(f"{share:.2%} of {len(self):,} samples leaves nothing on one side of the split")
        mixed = order.permute(np.arange(len(self)), len(self), philox.derive(seed, "split"))
        ids = torch.from_numpy(mixed).to(self.device)

        def part(chosen: Tensor, augment: Augment | None) -> Arrays:
            return Arrays({name: field[chosen] for name, field in self.fields.items()}, self.seed, augment)

        return part(ids[held_out:], self.augment), part(ids[:held_out], None)


def digits(seed: int | None, device: torch.device, augment: Augment | None = None) -> Arrays:
    """The 1,797 handwritten digits of scikit-learn: `images` [B, 1, 8, 8] in 0..1, `labels` int64 [B].

    Without a seed every epoch is in their order.
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    images = torch.from_numpy(found.images).float().div(16.0).unsqueeze(1)
    labels = torch.from_numpy(found.target).long()
    return Arrays({"images": images.to(device), "labels": labels.to(device)}, seed, augment)


@dataclass(frozen=True)
class Field:
    """One input of a model: the shape of a sample, and for whole numbers how many different ones there are."""

    shape: tuple[int, ...]
    classes: int | None = None


class Random:
    """Samples of noise for benchmarks and tests; sample `i` is a pure function of the seed and of `i`."""

    def __init__(self, fields: Mapping[str, Field], samples: int, seed: int, device: torch.device) -> None:
        self.fields = dict(fields)
        self.samples = samples
        self.seed = seed
        self.device = device

    def __len__(self) -> int:
        return self.samples

    def batch(self, first: int, size: int, data: Axis | None = None) -> dict[str, Tensor]:
        """Samples first..first+size-1 of the endless shuffled stream: each field [B, ...].

        With an axis they are this rank's: each of its ranks takes the next `size` samples.
        """
        return self._take(order.sample_ids(blocks.first_of(first, size, data), size, self.samples, self.seed)[1])

    def in_order(self, size: int) -> Iterator[dict[str, Tensor]]:
        """Every sample once, in batches of `size`; the last may be smaller."""
        for start in range(0, self.samples, size):
            yield self._take(np.arange(start, min(start + size, self.samples)))

    def in_blocks(self, size: int, data: Axis) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """Every sample once over all ranks of an axis: how many they have together, and this rank's batch."""
        for samples, ids in blocks.in_order(self.samples, size, data):
            yield samples, self._take(ids)

    def _take(self, ids: order.Ids) -> dict[str, Tensor]:
        samples = torch.from_numpy(ids).to(self.device)
        return {name: self._field(name, field, samples) for name, field in self.fields.items()}

    def _field(self, name: str, field: Field, samples: Tensor) -> Tensor:
        count = int(np.prod(field.shape, dtype=np.int64))
        key = philox.derive(self.seed, "random", name)
        counters = torch.arange(-(-count // 4), device=self.device)
        drawn = torch.stack(philox.words(key, counters[None, :], samples[:, None]), dim=2).flatten(1)[:, :count]
        values = drawn % field.classes if field.classes else drawn.float() * 2.0**-31 - 1.0
        return values.view(len(samples), *field.shape)
