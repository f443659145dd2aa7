"""Collectives as functions of a tensor, differentiable to any order: each turns one placement type into another.

The types of a value on an axis are I (whole, and its gradient is whole), R (whole, its gradient is a sum over the
ranks), P (a sum over the ranks, its gradient is whole) and S(d) (a block of dimension d, and so is its gradient):

    all_reduce       P -> I     forward all-reduce        backward -
    all_reduce_both  P -> R     forward all-reduce        backward all-reduce
    reduce_scatter   P -> S     forward reduce-scatter    backward all-gather
    all_gather       S -> I     forward all-gather        backward - (own block)
    all_gather_both  S -> R     forward all-gather        backward reduce-scatter
    all_to_all       S -> S     forward all-to-all        backward all-to-all
    copy             I -> R     forward -                 backward all-reduce
    split            I -> S     forward - (own block)     backward all-gather
    split_both       R -> S     forward - (own block)     backward - (zeros elsewhere)
    share            I -> P     forward - (first rank's)  backward -

A gradient has the dual type of its value (P for R and R for P; I and S for themselves), so the backward of each
function is another one of the table, and gradients of gradients follow. On an axis of one rank each is the identity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from .errors import RunError
from .mesh import Axis

_functional = torch.ops._c10d_functional  # out of place; torch.compile traces them


def all_reduce(x: Tensor, axis: Axis) -> Tensor:
    """P -> I: the sum over the ranks."""
    return _apply("all_reduce", x, axis)


def all_reduce_both(x: Tensor, axis: Axis) -> Tensor:
    """P -> R: the sum over the ranks; so is that of the gradients."""
    return _apply("all_reduce_both", x, axis)


def reduce_scatter(x: Tensor, axis: Axis, dim: int) -> Tensor:
    """P -> S(dim): this rank's block of the sum over the ranks."""
    return _apply("reduce_scatter", x, axis, dim)


def all_gather(x: Tensor, axis: Axis, dim: int) -> Tensor:
    """S(dim) -> I: the blocks of all ranks, one after the other."""
    return _apply("all_gather", x, axis, dim)


def all_gather_both(x: Tensor, axis: Axis, dim: int) -> Tensor:
    """S(dim) -> R: the blocks of all ranks; gradients are summed and scattered."""
    return _apply("all_gather_both", x, axis, dim)


def all_to_all(x: Tensor, axis: Axis, source_dim: int, target_dim: int) -> Tensor:
    """S(source_dim) -> S(target_dim)."""
    return _apply("all_to_all", x, axis, source_dim, target_dim)


def copy(x: Tensor, axis: Axis) -> Tensor:
    """I -> R: the value itself; gradients are summed over the ranks."""
    return _apply("copy", x, axis)


def split(x: Tensor, axis: Axis, dim: int) -> Tensor:
    """I -> S(dim): this rank's block; the blocks of the gradient are gathered."""
    return _apply("split", x, axis, dim)


def split_both(x: Tensor, axis: Axis, dim: int) -> Tensor:
    """R -> S(dim): this rank's block; its gradient stays partial, with zeros for the other blocks."""
    return _apply("split_both", x, axis, dim)


def share(x: Tensor, axis: Axis) -> Tensor:
    """I -> P: the value on the first rank, zeros on the others, so that their sum is the value."""
    return _apply("share", x, axis)


def exchange(x: Tensor, axis: Axis, sent: Sequence[int], received: Sequence[int]) -> Tensor:
    """Rows to other ranks: the first `sent[0]` go to rank 0, and so on; `received` says how many come from each.

    No change of type: each row lies on one rank before and after. Gradients go the way back.
    """
    if axis.size == 1:
        return x
    result: Tensor = _Exchange.apply(x, axis.key, tuple(sent), tuple(received))  # type: ignore[no-untyped-call]
    return result


class _Exchange(Function):
    """Rows of dimension 0 in blocks of any sizes; its backward is the same with the sizes the other way round."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: str, sent: tuple[int, ...], received: tuple[int, ...]) -> Tensor:
        ctx.group, ctx.sent, ctx.received = group, sent, received
        return _wait(_functional.all_to_all_single(x.contiguous(), received, sent, group))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        returned = _Exchange.apply(gradient, ctx.group, ctx.received, ctx.sent)  # type: ignore[no-untyped-call]
        return returned, None, None, None


def _apply(name: str, x: Tensor, axis: Axis, *dims: int) -> Tensor:
    if axis.size == 1:
        return x
    index = axis.index
    for dim in dims:
        if not -x.ndim <= dim < x.ndim:
            raise RunError(f"{name} over the {axis.name} axis: a tensor {list(x.shape)} has no dimension {dim}")
    dims = tuple(dim % x.ndim for dim in dims)
    if name in DIVIDES and x.shape[dims[-1]] % axis.size:
        raise RunError(
            f"{name} over the {axis.name} axis: dimension {dims[-1]} of a tensor {list(x.shape)} "
            f"cannot be cut into {axis.size} equal blocks"
        )
    result: Tensor = _Conversion.apply(x, name, (axis.key, axis.size, index), dims)  # type: ignore[no-untyped-call]
    return result


DIVIDES = ("reduce_scatter", "split", "split_both", "all_to_all")  # functions that cut their last dimension
_Ranks = tuple[str, int, int]  # name of the group, its size, this rank's index


class _Conversion(Function):
    """One row of the table above."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, name: str, ranks: _Ranks, dims: tuple[int, ...]) -> Tensor:
        ctx.name, ctx.ranks, ctx.dims = name, ranks, dims
        return _MOVES[name](x, ranks, dims)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        name, dims = _BACKWARD[ctx.name], ctx.dims[::-1]
        return _Conversion.apply(gradient, name, ctx.ranks, dims), None, None, None  # type: ignore[no-untyped-call]


_BACKWARD = {
    "all_reduce": "copy",
    "all_reduce_both": "all_reduce_both",
    "reduce_scatter": "all_gather_both",
    "all_gather": "split",
    "all_gather_both": "reduce_scatter",
    "all_to_all": "all_to_all",
    "copy": "all_reduce",
    "split": "all_gather",
    "split_both": "place",
    "place": "split_both",
    "share": "keep",
    "keep": "share",
}


def _sum(x: Tensor, ranks: _Ranks, dims: tuple[int, ...]) -> Tensor:  # noqa: ARG001 (all take the same arguments)
    return _wait(_functional.all_reduce(x.contiguous(), "sum", ranks[0]))


def _sum_block(x: Tensor, ranks: _Ranks, dims: tuple[int, ...]) -> Tensor:
    blocks = torch.cat(x.chunk(ranks[1], dims[0])) if dims[0] else x.contiguous()
    return _wait(_functional.reduce_scatter_tensor(blocks, "sum", ranks[1], ranks[0]))


def _gather(x: Tensor, ranks: _Ranks, dims: tuple[int, ...]) -> Tensor:
    gathered = _wait(_functional.all_gather_into_tensor(x.contiguous(), ranks[1], ranks[0]))
    return torch.cat(gathered.chunk(ranks[1]), dims[0]) if dims[0] else gathered


def _exchange(x: Tensor, ranks: _Ranks, dims: tuple[int, ...]) -> Tensor:
    source, target = dims
    blocks = torch.cat(x.chunk(ranks[1], target)) if target else x.contiguous()
    rows = [len(blocks) // ranks[1]] * ranks[1]
    received = _wait(_functional.all_to_all_single(blocks, rows, rows, ranks[0]))
    return torch.cat(received.chunk(ranks[1]), source) if source else received


def _block(x: Tensor, ranks: _Ranks, dims: tuple[int, ...]) -> Tensor:
    return x.chunk(ranks[1], dims[0])[ranks[2]].clone(memory_format=torch.contiguous_format)


def _place(x: Tensor, ranks: _Ranks, dims: tuple[int, ...]) -> Tensor:
    blocks = [torch.zeros_like(x)] * ranks[1]
    blocks[ranks[2]] = x
    return torch.cat(blocks, dims[0])


def _share(x: Tensor, ranks: _Ranks, dims: tuple[int, ...]) -> Tensor:  # noqa: ARG001
    # A product, not zeros: a compiler drops what makes an unused x, and with it a collective that others wait for.
    return x * (ranks[2] == 0)


def _same(x: Tensor, ranks: _Ranks, dims: tuple[int, ...]) -> Tensor:  # noqa: ARG001
    return x.view_as(x)


def _wait(x: Tensor) -> Tensor:
    result: Tensor = _functional.wait_tensor(x)
    return result


_MOVES: dict[str, Callable[[Tensor, _Ranks, tuple[int, ...]], Tensor]] = {
    "all_reduce": _sum,
    "all_reduce_both": _sum,
    "reduce_scatter": _sum_block,
    "all_gather": _gather,
    "all_gather_both": _gather,
    "all_to_all": _exchange,
    "copy": _same,
    "split": _block,
    "split_both": _block,
    "place": _place,
    "share": _share,
    "keep": _same,
}
