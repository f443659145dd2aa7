"""Ranks that are on one node, and the way of a file from a rank of one node to a rank of another."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

from . import tensorfile
from .writer import Rows

CHUNK = 64 << 20  # bytes sent at a time
BOOT = Path("/proc/sys/kernel/random/boot_id")


def place(folder: Path) -> str:
    """Names what only the processes that see the same folder have in common: the boot of a machine, and the folder."""
    boot = BOOT.read_text().strip() if BOOT.exists() else ""
    found = folder.stat()
    return f"{boot}/{found.st_dev}/{found.st_ino}"


@dataclass(frozen=True)
class Nodes:
    """The ranks by node, in the order of the lowest rank of each, as rank `rank` sees them."""

    members: tuple[tuple[int, ...], ...]
    rank: int

    @classmethod
    def of(cls, places: Sequence[str], rank: int) -> Nodes:
        """From what `place` says on each rank."""
        found: dict[str, list[int]] = {}
        for each, name in enumerate(places):
            found.setdefault(name, []).append(each)
        return cls(tuple(tuple(ranks) for ranks in found.values()), rank)

    def node(self, rank: int) -> int:
        """The node that a rank is on."""
        return next(number for number, ranks in enumerate(self.members) if rank in ranks)

    @property
    def here(self) -> tuple[int, ...]:
        """The ranks on this node."""
        return self.members[self.node(self.rank)]

    @property
    def first(self) -> bool:
        """Whether this is the rank that keeps the folder of its node in order."""
        return self.rank == self.here[0]

    def buddy(self, rank: int) -> int | None:
        """The rank of the next node that keeps a copy for a rank; there is none where there is one node."""
        if len(self.members) == 1:
            return None
        node = self.node(rank)
        following = self.members[(node + 1) % len(self.members)]
        return following[self.members[node].index(rank) % len(following)]

    def kept(self) -> list[int]:
        """The ranks that this one keeps a copy for."""
        return [rank for ranks in self.members for rank in ranks if self.buddy(rank) == self.rank]


def send(path: Path, to: int, group: dist.ProcessGroup | None) -> Iterator[tuple[dist.Work, torch.Tensor]]:
    """Starts to send a file; each chunk has to stay until its work is done."""
    size = path.stat().st_size
    data = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)
    for start in range(0, size, CHUNK):
        chunk = data[start : start + CHUNK]
        work = dist.isend(chunk, to, group=group)
        assert work is not None
        yield work, chunk


def take(folder: Path, rows: Rows, sender: int, group: dist.ProcessGroup | None) -> None:
    """Writes the files that another rank sends one after the other. All are taken, even if the disk takes none."""
    failed: OSError | None = None
    with contextlib.suppress(OSError):
        folder.mkdir(exist_ok=True)
    for name, row in rows.items():
        try:
            if _receive(folder / name, row["bytes"], sender, group) != row["sha256"]:
                raise OSError(f"{name} arrived from rank {sender} with another checksum")
        except OSError as error:
            failed = error
    if failed is not None:
        raise failed


def _receive(path: Path, size: int, sender: int, group: dist.ProcessGroup | None) -> str:
    """Writes one file to its end and forces it to the disk; its SHA-256."""
    digest, failed, handle = hashlib.sha256(), None, -1
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    except OSError as error:
        failed = error
    buffer = torch.empty(min(size, CHUNK), dtype=torch.uint8)
    for start in range(0, size, CHUNK):
        chunk = buffer[: min(CHUNK, size - start)]
        dist.recv(chunk, sender, group=group)
        data = chunk.numpy().data
        digest.update(data)
        try:
            tensorfile.write_all(handle, data if failed is None else data[:0])
        except OSError as error:
            failed = error
    if handle >= 0:
        os.fsync(handle)
        os.close(handle)
    if failed is not None:
        raise failed
    return digest.hexdigest()
