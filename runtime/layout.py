"""How the parameters of a run lie on its mesh, and which block of each this rank holds.

LAYOUT = layout.Layout(MESH, split={"layers.*.query.weight": 0}, summed=("layers.*.norm.weight",))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Shard

from .errors import RunError
from .mesh import Axis, Mesh

Model = nn.Module | Sequence[nn.Module]
"""A model, or this rank's stages of one in their order; parameters are called as in the whole model."""


@dataclass(frozen=True)
class Layout:
    """Names may hold `*`, which stands for any text.

    split   parameters split over the tensor axis, and on which dimension
    summed  whole parameters whose gradients are added up over the tensor axis
    tied    parameters that several pipeline ranks hold a copy of under one name, and these ranks
    experts parameters split over the expert axis, on dimension 0
    """

    mesh: Mesh = field(default_factory=Mesh)
    split: Mapping[str, int] = field(default_factory=dict)
    summed: Sequence[str] = ()
    tied: Mapping[str, Sequence[int]] = field(default_factory=dict)
    experts: Sequence[str] = ()

    def split_dim(self, name: str) -> int | None:
        """The dimension that a parameter is split on over the tensor axis; None: it is whole."""
        if self.mesh.axis("tensor").size == 1:
            return None
        return next((dim for pattern, dim in self.split.items() if fnmatchcase(name, pattern)), None)

    def is_expert(self, name: str) -> bool:
        """Whether a parameter holds this rank's experts only."""
        return any(fnmatchcase(name, pattern) for pattern in self.experts)

    def copies(self, name: str) -> Axis:
        """The ranks of the data axis that hold the same values of a parameter, where FSDP does not cut it up."""
        return self.mesh.axis("replica" if self.is_expert(name) else "data")

    def cuts(self, name: str) -> Iterator[tuple[int, Axis]]:
        """The dimensions that a parameter is split on, and over which axis."""
        if (dim := self.split_dim(name)) is not None:
            yield dim, self.mesh.axis("tensor")
        if self.is_expert(name):
            yield 0, self.mesh.axis("expert")

    def is_summed(self, name: str) -> bool:
        """Whether a parameter's gradient is a sum over the tensor axis."""
        return any(fnmatchcase(name, pattern) for pattern in self.summed)

    def is_first_copy(self, name: str) -> bool:
        """Whether this rank's copy of a parameter is the one that counts, in norms and checkpoints."""
        return name not in self.tied or self.mesh.axis("pipeline").index == self.tied[name][0]


def modules(model: Model) -> Sequence[nn.Module]:
    """The stages of a rank, or the one module."""
    return (model,) if isinstance(model, nn.Module) else model


def named_parameters(model: Model) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters of this rank, each once."""
    seen: set[int] = set()
    for module in modules(model):
        for name, parameter in module.named_parameters():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that is in this rank's memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


@dataclass(frozen=True)
class Block:
    """This rank's part of a tensor: elements start..start+shape of the `whole`, per dimension."""

    local: Tensor
    whole: tuple[int, ...]
    start: tuple[int, ...]


def block_of(name: str, tensor: Tensor, layout: Layout) -> Block:
    """Where a parameter, or a tensor of its shape and placement, lies in that of one process."""
    whole, start = list(tensor.shape), [0] * tensor.ndim
    if isinstance(tensor, DTensor):
        start[0] = _first_row(name, tensor)
    for dim, axis in layout.cuts(name) if tensor.ndim else ():
        if not -tensor.ndim <= dim < tensor.ndim:
            raise RunError(f"{name} {list(tensor.shape)} has no dimension {dim} to be split on")
        start[dim] += axis.index * whole[dim]
        whole[dim] *= axis.size
    return Block(local(tensor.detach()), tuple(whole), tuple(start))


def _first_row(name: str, tensor: DTensor) -> int:
    """FSDP cuts dimension 0 as `torch.chunk` does; the last blocks may be smaller, or empty."""
    if tensor.device_mesh.ndim != 1 or tensor.placements != (Shard(0),):
        raise RunError(f"{name} lies on the mesh as {tensor.placements}, which no layout of this program makes")
    size = -(-tensor.shape[0] // tensor.device_mesh.size())
    return min(tensor.device_mesh.get_local_rank() * size, tensor.shape[0])
