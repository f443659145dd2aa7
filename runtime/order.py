"""The order in which samples are seen: a pure function of the seed and of how many were seen before.

Epoch `e` visits the `n` samples in a pseudo-random permutation that is computed for one position at a time: a
Feistel network over the smallest even number of bits that holds `n`, walked along its cycle until the value falls
below `n` (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002). Nothing is stored, nothing is
kept in a checkpoint beyond the count, and neither batch size nor number of workers changes the order.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from . import philox

Ids = npt.NDArray[np.int64]
ROUNDS = 8
BLOCK = 1024


def permute(positions: Ids, count: int, key: int) -> Ids:
    """Where a bijection of range(count), chosen by `key`, sends each of `positions`."""
    half = max(1, ((count - 1).bit_length() + 1) // 2)
    keys = [philox.derive(key, turn) & philox.WORD for turn in range(ROUNDS)]
    values = _feistel(positions, half, keys)
    outside = np.flatnonzero(values >= count)
    while len(outside):
        values[outside] = _feistel(values[outside], half, keys)
        outside = outside[values[outside] >= count]
    return values


def _feistel(values: Ids, half: int, keys: list[int]) -> Ids:
    """One pass of the network over numbers of 2 * half bits."""
    mask = (1 << half) - 1
    left, right = values >> half, values & mask
    for key in keys:
        left, right = right, left ^ (_mix(right ^ key) & mask)
    return (left << half) | right


def _mix(word: Ids) -> Ids:
    """A 32-bit hash whose every output bit depends on every input bit (constants: Wellons, hash-prospector)."""
    word = word ^ (word >> 16)
    word = (word * 0x7FEB_352D) & philox.WORD
    word = word ^ (word >> 15)
    word = (word * 0x846C_A68B) & philox.WORD
    return word ^ (word >> 16)


@lru_cache(maxsize=64)
def _block(epoch: int, block: int, count: int, seed: int) -> Ids:
    """Sample ids at one block of positions of an epoch; kept, since batches are much smaller than blocks."""
    positions = np.arange(block * BLOCK, min((block + 1) * BLOCK, count), dtype=np.int64)
    return permute(positions, count, philox.derive(seed, "order", epoch))


def sample_ids(first: int, size: int, count: int, seed: int | None) -> tuple[Ids, Ids]:
    """Epochs and sample ids at positions first..first+size-1 of the endless stream over `count` samples.

    Without a seed every epoch is in the order of the data.
    """
    epochs, positions = np.divmod(np.arange(first, first + size, dtype=np.int64), count)
    if seed is None:
        return epochs, positions
    ids = np.empty(size, np.int64)
    done = 0
    while done < size:
        block, offset = divmod(int(positions[done]), BLOCK)
        found = _block(int(epochs[done]), block, count, seed)[offset : offset + size - done]
        ids[done : done + len(found)] = found
        done += len(found)
    return epochs, ids
