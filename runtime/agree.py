"""What ranks tell each other in words, on the CPU: who failed, which checkpoint is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
import torch.distributed as dist

from .errors import RunError
from .mesh import Mesh

T = TypeVar("T")


def everyone(text: str, mesh: Mesh, group: dist.ProcessGroup | None = None) -> list[str]:
    """What each rank says, by rank; every rank hears all of it. A thread has a `group` of all ranks to itself."""
    if mesh.world == 1:
        return [text]
    own, group = text.encode(), group or mesh.control
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(mesh.world)]
    dist.all_gather(sizes, torch.tensor([len(own)]), group=group)
    longest = max(int(size) for size in sizes)
    heard = [torch.zeros(longest, dtype=torch.uint8) for _ in range(mesh.world)]
    dist.all_gather(heard, _padded(own, longest), group=group)
    return [bytes(part.tolist())[: int(size)].decode() for part, size in zip(heard, sizes, strict=True)]


def first(text: str, mesh: Mesh) -> str:
    """What the first rank says."""
    if mesh.world == 1:
        return text
    own = text.encode()
    size = torch.tensor([len(own)])
    dist.broadcast(size, 0, group=mesh.control)
    heard = _padded(own[: int(size)], int(size))
    dist.broadcast(heard, 0, group=mesh.control)
    return bytes(heard.tolist()).decode()


def yes(condition: bool, mesh: Mesh) -> bool:
    """Whether it is so for the first rank; for what ranks may see differently, such as the time."""
    return first(str(condition), mesh) == "True"


def _padded(text: bytes, size: int) -> torch.Tensor:
    return torch.frombuffer(bytearray(text.ljust(size, b"\0")), dtype=torch.uint8) if size else torch.zeros(0).byte()


def together(work: Callable[[], T], mesh: Mesh) -> T:
    """The result of `work`; where it raises a `RunError` on any rank, all ranks raise one of that kind."""
    if mesh.world == 1:
        return work()
    result, error = None, None
    try:
        result = work()
    except RunError as raised:
        error = raised
    messages = everyone("" if error is None else f"rank {mesh.rank}: {error}", mesh)
    found = [message for message in messages if message]
    if found:
        raise (type(error) if error else RunError)("\n".join(found[:3]))
    return result  # type: ignore[return-value]
