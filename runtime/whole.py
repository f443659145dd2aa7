"""Whole tensors out of the blocks that ranks hold: each is put together on the first rank, one after the other."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor

from . import agree
from .errors import RunError
from .layout import Block
from .mesh import Mesh

Place = tuple[tuple[int, ...], tuple[int, ...]]  # start and shape of a block


@dataclass
class Entry:
    """A tensor of the whole run, and which rank gives which block of it."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    owners: dict[Place, int] = field(default_factory=dict)


Table = dict[str, Entry]


def table(blocks: Mapping[str, Block], mesh: Mesh) -> Table:
    """All tensors of all ranks by name, the same on each rank; of equal blocks the lowest rank's is taken."""
    rows = [
        (name, str(block.local.dtype).removeprefix("torch."), block.whole, block.start, tuple(block.local.shape))
        for name, block in blocks.items()
    ]
    found: Table = {}
    for rank, text in enumerate(agree.everyone(json.dumps(rows), mesh)):
        for name, dtype, *numbers in json.loads(text):
            shape, start, own = (tuple(each) for each in numbers)
            entry = found.setdefault(name, Entry(getattr(torch, dtype), shape))
            if (str(entry.dtype), entry.shape) != (f"torch.{dtype}", shape):
                raise RunError(
                    f"{name} is {entry.dtype} {list(entry.shape)}, but torch.{dtype} {list(shape)} on {rank}"
                )
            if 0 not in own or 0 in shape:  # one without elements has an owner as well
                entry.owners.setdefault((start, own), rank)
    for name, entry in found.items():
        held = sum(math.prod(own) for _, own in entry.owners)
        if held != math.prod(entry.shape):
            raise RunError(f"{name} has {math.prod(entry.shape):,} elements, but the ranks' blocks have {held:,}")
    return found


def owned(found: Table, blocks: Mapping[str, Block], mesh: Mesh) -> dict[str, Block]:
    """The blocks of a table that are this rank's to give."""
    return {name: blocks[name] for name, entry in found.items() if mesh.rank in entry.owners.values()}


def gather(found: Table, blocks: Mapping[str, Block], mesh: Mesh) -> Iterator[Tensor]:
    """The tensors of a table in its order, on the CPU; the first rank only, while the others `give` theirs."""
    for name, entry in found.items():
        if list(entry.owners.values()) == [0] and len(entry.owners) == 1:
            yield blocks[name].local.cpu()
            continue
        result = torch.empty(entry.shape, dtype=entry.dtype)
        for (start, shape), rank in entry.owners.items() if result.numel() else ():
            place = tuple(slice(first, first + size) for first, size in zip(start, shape, strict=True))
            result[place] = blocks[name].local.cpu() if rank == 0 else _receive(shape, entry.dtype, rank, mesh)
        yield result


def give(found: Table, blocks: Mapping[str, Block], mesh: Mesh) -> None:
    """Sends the blocks that this rank owns to the first one."""
    for name, entry in found.items():
        for rank in entry.owners.values():
            if rank == mesh.rank and 0 not in entry.shape:
                dist.send(_bytes(blocks[name].local), 0, group=mesh.control)


def _receive(shape: Sequence[int], dtype: torch.dtype, rank: int, mesh: Mesh) -> Tensor:
    result = torch.empty(shape, dtype=dtype)
    dist.recv(_bytes(result), rank, group=mesh.control)
    return result


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.cpu().contiguous().view(-1).view(torch.uint8)
