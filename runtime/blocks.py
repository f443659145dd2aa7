"""Which samples of a batch each rank of the data axis takes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .mesh import Axis
from .order import Ids


def first_of(first: int, size: int, data: Axis | None) -> int:
    """Where the block of `size` samples begins that this rank takes of size * ranks samples from `first` on."""
    return first if data is None else first + data.index * size


def in_order(count: int, size: int, data: Axis) -> Iterator[tuple[int, Ids]]:
    """Every sample 0..count-1 once, in batches of at most `size` per rank: (samples of all ranks, ids of this rank's).

    All ranks have the same number of batches, of the same sizes, so that their collectives match. Where the last
    samples are fewer than the ranks, several ranks have the same one, each sample as many times as the others: then a
    mean over the ranks' samples is still the mean over the samples that are counted.
    """
    done = 0
    while done < count:
        left = count - done
        here = min(left // data.size, size)
        if here:
            samples = here * data.size
            start, stop = done + data.index * here, done + (data.index + 1) * here
        else:
            samples = next(n for n in range(left, 0, -1) if data.size % n == 0)
            start = done + data.index * samples // data.size
            stop = start + 1
        yield samples, np.arange(start, stop, dtype=np.int64)
        done += samples
