"""How long a matrix product takes: tiles in waves over the processors of an accelerator, or the way of its bytes."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

from ..cluster import Machine
from ..passes.precision import WIDTH

TILES: Final = ((256, 128), (128, 256), (128, 128), (128, 64), (64, 128), (64, 64))
"""Blocks of the result that one processor computes at a time: those of cuBLAS and CUTLASS."""
TILE_SHARE: Final = {256 * 128: 1.0, 128 * 128: 0.95, 128 * 64: 0.8, 64 * 64: 0.65}
"""Rate at a tile beside that at the largest: smaller ones load more bytes for each operation."""
FILL: Final = 192
"""Steps of the inner dimension that filling and draining the pipeline of a tile costs."""
STREAM: Final = 0.85
"""Share of the memory's bandwidth that a kernel reaches that only reads and writes."""


@dataclass(frozen=True)
class Product:
    """`batch` products of an m x k by a k x n matrix in one format."""

    m: int
    n: int
    k: int
    batch: int = 1
    dtype: str = "bf16"

    @property
    def flops(self) -> int:
        """A multiply-add is two."""
        return 2 * self.m * self.n * self.k * self.batch

    @property
    def moved(self) -> int:
        """Bytes of both factors and the result."""
        return (self.m * self.k + self.k * self.n + self.m * self.n) * self.batch * WIDTH.get(self.dtype, 1)

    def backward(self) -> tuple[Product, Product]:
        """The products that give the gradients of the first and of the second factor."""
        return (
            Product(self.m, self.k, self.n, self.batch, self.dtype),
            Product(self.k, self.n, self.m, self.batch, self.dtype),
        )


def seconds(product: Product, machine: Machine) -> float:
    """Time of a product: the slower of its operations and its bytes.

    Tile and wave quantisation as in NVIDIA's "Matrix Multiplication Background User's Guide": the result is cut into
    tiles, `units` of them run at a time, and what the last wave leaves idle is lost.
    """
    if not product.flops:
        return 0.0
    sustained = machine.sustained_fp8 if product.dtype == "fp8" else machine.sustained
    rate = machine.peak(product.dtype) * sustained
    return max(
        product.flops / (rate * efficiency(product, machine)),
        product.moved / (machine.bandwidth * STREAM),
    )


def efficiency(product: Product, machine: Machine) -> float:
    """Share of the sustained rate that the sizes of a product allow, with the best of the tiles."""
    filled = product.k / (product.k + FILL) if machine.units > 1 else 1.0
    return filled * max(_tiled(product, machine.units, tile) for tile in TILES)


def _tiled(product: Product, units: int, tile: tuple[int, int]) -> float:
    if units == 1:
        return 1.0
    rows, columns = ceil(product.m / tile[0]), ceil(product.n / tile[1])
    tiles = rows * columns * product.batch
    used = product.m * product.n / (rows * tile[0] * columns * tile[1])
    waves = ceil(tiles / units)
    return TILE_SHARE[tile[0] * tile[1]] * used * tiles / (waves * units)
