"""Random numbers as a pure function of a key and a counter, the same on every device and in any order.

Philox-4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), written
with int64 tensors that hold 32-bit words. Element `i` of a stream never depends on how many others were drawn, so
one rank can draw its shard of a parameter, and a resumed run draws what the undisturbed one would have drawn.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor

WORD = 0xFFFF_FFFF
MULTIPLIERS = (0xD251_1F53, 0xCD9E_8D57)
KEY_STEPS = (0x9E37_79B9, 0xBB67_AE85)
ROUNDS = 10
CHUNK = 1 << 16  # counters per pass: eight words of 64 bits each stay in the second-level cache


def derive(*parts: int | str) -> int:
    """A 64-bit key from what identifies a stream, such as a seed and a name."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "little")


def words(key: int, counter: Tensor, stream: Tensor | int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four random 32-bit words for each 64-bit `counter` of a 64-bit `stream`, as int64 tensors."""
    stream = torch.as_tensor(stream, device=counter.device)
    a, b, c, d = counter & WORD, counter >> 32 & WORD, stream & WORD, stream >> 32 & WORD
    keys = [key & WORD, key >> 32]
    for _ in range(ROUNDS):
        low, high = a * MULTIPLIERS[0], c * MULTIPLIERS[1]  # wraps at 64 bits, which leaves both halves right
        a, b, c, d = (high >> 32 & WORD) ^ b ^ keys[0], high & WORD, (low >> 32 & WORD) ^ d ^ keys[1], low & WORD
        keys = [(part + step) & WORD for part, step in zip(keys, KEY_STEPS, strict=True)]
    return a, b, c, d


def unit(word: Tensor) -> Tensor:
    """A word as a uniform value in (0, 1): 24 bits, so that float32 holds each value and neither end is reached."""
    return ((word >> 8).to(torch.float32) + 0.5) * 2.0**-24


def _fill(key: int, first: int, count: int, device: torch.device | str, normal: bool) -> Tensor:
    """Floats first..first+count-1 of a stream, four for each counter."""
    begin, end = first // 4, -(-(first + count) // 4)
    out = torch.empty(end - begin, 4, device=device)
    for start in range(begin, end, CHUNK):
        stop = min(start + CHUNK, end)
        units = [unit(word) for word in words(key, torch.arange(start, stop, device=device))]
        out[start - begin : stop - begin] = torch.stack(_box_muller(units) if normal else units, dim=1)
    return out.flatten()[first - 4 * begin :][:count]


def _box_muller(units: list[Tensor]) -> list[Tensor]:
    """Four independent standard normal values from four uniform ones (Box and Muller, 1958)."""
    values: list[Tensor] = []
    for radius, angle in ((units[0], units[1]), (units[2], units[3])):
        length = torch.sqrt(-2.0 * torch.log(radius))
        values += [length * torch.cos(2.0 * math.pi * angle), length * torch.sin(2.0 * math.pi * angle)]
    return values


def uniform(key: int, count: int, device: torch.device | str = "cpu", first: int = 0) -> Tensor:
    """Values first..first+count-1 of a stream of float32 in (0, 1)."""
    return _fill(key, first, count, device, normal=False)


def normal(key: int, count: int, device: torch.device | str = "cpu", first: int = 0) -> Tensor:
    """Values first..first+count-1 of a stream of standard normal float32."""
    return _fill(key, first, count, device, normal=True)
