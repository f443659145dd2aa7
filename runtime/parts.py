"""Tensors of one state that lie in several files: each file holds blocks, and says where in the whole they belong."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from . import tensorfile
from .layout import Block

Place = tuple[tuple[int, ...], tuple[int, ...]]  # start and shape of a block


def write(path: Path, blocks: Mapping[str, Block]) -> str:
    """Writes blocks and forces them to the disk; the SHA-256 of the file. `OSError` as the system gives it."""
    places = {
        name: json.dumps([block.whole, block.start])
        for name, block in blocks.items()
        if tuple(block.local.shape) != tuple(block.whole)
    }
    return tensorfile.write(path, {name: block.local for name, block in blocks.items()}, places)


def overlap(begin: Sequence[int], own: Sequence[int], start: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether two blocks of one tensor have an element in common."""
    return all(max(b, s) < min(b + o, s + n) for b, o, s, n in zip(begin, own, start, shape, strict=True))


class Parts:
    """Reads any block of the tensors that files hold together, however they were cut; only what is asked for.

    `others` are shapes of tensors that lie elsewhere, which nobody will read here.
    """

    def __init__(self, paths: Sequence[Path], others: Mapping[str, tuple[int, ...]] | None = None) -> None:
        self._shapes: dict[str, tuple[int, ...]] = dict(others or {})
        self._held: dict[str, list[tuple[Place, tensorfile.Reader]]] = {}
        for path in paths:
            reader = tensorfile.Reader(path)
            for name, (whole, start, own) in reader.table().items():
                self._shapes[name] = whole
                self._held.setdefault(name, []).append(((start, own), reader))

    def names(self) -> list[str]:
        """The tensors of the state."""
        return list(self._shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a whole tensor."""
        return self._shapes[name]

    def read(self, name: str, start: Sequence[int] | None = None, shape: Sequence[int] = ()) -> Tensor:
        """Elements start..start+shape of a tensor; without `start` all of it. `ValueError` where the files lack one."""
        whole = self._shapes[name]
        first, size = ((0,) * len(whole), whole) if start is None else (tuple(start), tuple(shape))
        found: Tensor | None = None
        filled = 0
        for (begin, own), reader in self._held[name]:
            low = tuple(map(max, begin, first))
            high = tuple(min(b + o, f + s) for b, o, f, s in zip(begin, own, first, size, strict=True))
            extent = tuple(h - at for at, h in zip(low, high, strict=True))
            if any(each <= 0 for each in extent):
                continue
            part = reader.read(name, tuple(at - b for at, b in zip(low, begin, strict=True)), extent)
            if extent == size:
                return part
            found = torch.empty(size, dtype=part.dtype) if found is None else found
            place = tuple(slice(at - f, h - f) for at, f, h in zip(low, first, high, strict=True))
            found[place] = part
            filled += math.prod(extent)
        if filled != math.prod(size):
            raise ValueError(f"the files hold {filled:,} of {math.prod(size):,} elements of {name}")
        return self._held[name][0][1].read(name).new_empty(size) if found is None else found
