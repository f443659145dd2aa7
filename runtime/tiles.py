"""What generated kernels share: their registration, rows of tensors, formats, and the GPU that they run on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # a CPU runs the same formulas in PyTorch; kernels are then never launched

    class triton:  # type: ignore[no-redef]  # noqa: D101
        @staticmethod
        def jit(function: Callable[..., Any]) -> Callable[..., Any]:
            """Leaves a kernel as it is."""
            return function

    tl = None

__all__ = [
    "Tile", "architecture", "kept", "low", "on", "precise", "programs", "register", "rows", "summed", "tile", "tl",
    "triton", "wide",
]  # fmt: skip

_LIBRARIES: Final[dict[str, Any]] = {}
PER_PROCESSOR: Final = 2
"""Programs per processor of a kernel that adds up over rows."""


class Tile(NamedTuple):
    """How a kernel is cut up: rows of a tile, and warps that work on it."""

    rows: int
    warps: int


def register(space: str, schema: str, launch: Callable[..., Any], reference: Callable[..., Any]) -> Callable[..., Any]:
    """The op of a schema: `launch` on a GPU, `reference` on a CPU and for shapes; `space` belongs to one text.

    Autograd does not see through it: it is called inside a `torch.autograd.Function`.
    """
    name = schema.partition("(")[0]
    if space not in _LIBRARIES:
        _LIBRARIES[space] = torch.library.Library(space, "FRAGMENT")  # type: ignore[no-untyped-call]
    library = _LIBRARIES[space]
    if not hasattr(getattr(torch.ops, space), name):
        library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
        library.impl(name, launch, "CUDA")
        library.impl(name, reference, "CPU")
        torch.library.register_fake(f"{space}::{name}", reference, lib=library)
    op: Callable[..., Any] = getattr(getattr(torch.ops, space), name).default
    return op


def wide(*tensors: Tensor) -> torch.dtype:
    """The format that a kernel computes in: fp32, or fp64 where a tensor has it."""
    return torch.float64 if any(each.dtype == torch.float64 for each in tensors) else torch.float32


def low(dtype: torch.dtype, x: Tensor) -> torch.dtype:
    """The format that autocast would turn a result into for the product that reads it; `dtype` without autocast."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) and dtype == torch.float32 else dtype


def kept(value: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """A result as a kernel stores it: of this shape and format, in one piece."""
    return value.expand(shape).to(dtype).contiguous()


def summed(value: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """The sum over all rows of what each adds to the gradient of a vector."""
    return value.expand(shape).flatten(0, -2).sum(0).to(dtype)


def rows(x: Tensor, columns: int) -> Tensor:
    """The tensor as rows [rows, columns], each in one piece; rows may lie apart."""
    flat = x.reshape(x.numel() // columns, columns)
    return flat if flat.stride(1) == 1 else flat.contiguous()


def programs(device: torch.device, most: int) -> int:
    """How many programs add up over rows: a few for each processor, none of them idle."""
    count = torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1
    return min(most, PER_PROCESSOR * count)


def on(device: torch.device) -> AbstractContextManager[Any]:
    """Makes this the GPU that kernels start on."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def tile(table: Mapping[str, Tile], device: torch.device) -> Tile:
    """How to cut up a kernel on this GPU."""
    return table[architecture(device)]


@cache
def architecture(device: torch.device) -> str:
    """The nearest of sm_80, sm_90 and gfx942; the first where there is no GPU."""
    if device.type != "cuda":
        return "sm_80"
    if torch.version.hip:
        return "gfx942"
    return "sm_90" if torch.cuda.get_device_capability(device)[0] >= 9 else "sm_80"


def precise(x: Tensor) -> Any:
    """Triton's name of the format that a kernel computes in."""
    return tl.float64 if wide(x) == torch.float64 else tl.float32
