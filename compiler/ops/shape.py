"""The order of dimensions: transpose, flatten, expand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..dims import Dim, Poly, product, symbols
from ..node import Node, Tensor
from ..placement import Sharding
from .base import Attribute, Inferred, Op, ShapeError
from .common import dimension, operand
from .sharding import aligned, cut, spelled


def _transpose(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    x: Tensor = inputs["x"]
    shape = list(x.shape)
    i, j = (dimension(attrs, x, name=name) for name in ("first", "second"))
    shape[i], shape[j] = shape[j], shape[i]
    return Inferred((Tensor(tuple(shape), x.kind),))


def _emit_transpose(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    return f"{operand(args['x'])}.transpose({node.attrs['first']!r}, {node.attrs['second']!r})"


def _flatten(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    x: Tensor = inputs["x"]
    start, end = (dimension(attrs, x, name=name) for name in ("start", "end"))
    if start > end:
        raise ShapeError(f"`start` {start} comes after `end` {end} in {x}", None, "start")
    return Inferred((Tensor((*x.shape[:start], product(x.shape[start : end + 1]), *x.shape[end + 1 :]), x.kind),))


def _emit_flatten(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    end = "" if node.attrs["end"] == -1 else f", {node.attrs['end']!r}"
    return f"{operand(args['x'])}.flatten({node.attrs['start']!r}{end})"


def _expand(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    x: Tensor = inputs["x"]
    shape: tuple[Dim, ...] = tuple(attrs["shape"])
    kept = (None,) * (len(shape) - len(x.shape)) + x.shape
    if len(shape) < len(x.shape):
        raise ShapeError(f"`shape` has {len(shape)} sizes, but `x` is {x}", None, "shape")
    for i, (size, old) in enumerate(zip(shape, kept, strict=True)):
        if isinstance(size, int) and size < 1:
            raise ShapeError(f"`shape` holds {size}, but sizes are at least 1", None, "shape")
        if old not in (None, 1, size):
            help = "only sizes of 1 can be repeated"
            raise ShapeError(f"`shape` asks for {size} in dimension {i}, but `x` has {old} there", help, "shape")
        if isinstance(size, Poly) and old != size:
            _plain(size)
    return Inferred((Tensor(shape, x.kind),))


def _plain(size: Poly) -> None:
    if any(not name.isidentifier() for monomial, _ in size.terms for name in monomial):
        raise ShapeError(f"`{size}` is not known before the program runs", None, "shape")


def _emit_expand(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    x, shape = inputs[0], node.outputs[0].shape
    kept = (None,) * (len(shape) - len(x.shape)) + x.shape
    sizes = ["-1" if size == old else size_text(size, args) for size, old in zip(shape, kept, strict=True)]
    return f"{operand(args['x'])}.expand({', '.join(sizes)})"


def size_text(size: Dim, args: Mapping[str, str]) -> str:
    """Python text of a size, symbols replaced by their expressions."""
    if isinstance(size, int):
        return repr(size)
    terms = []
    for monomial, coefficient in size.terms:
        factors = [operand(args[name]) for name in monomial]
        terms.append(" * ".join(([repr(coefficient)] if coefficient != 1 or not factors else []) + factors))
    return " + ".join(terms)


def _transpose_sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    letters = spelled(len(inputs[0].shape))
    i, j = (dimension(node.attrs, inputs[0], name=name) for name in ("first", "second"))
    swapped = list(letters)
    swapped[i], swapped[j] = letters[j], letters[i]
    return Sharding((letters,), (), ("".join(swapped),), linear=((0,),))


def _flatten_sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    """Of merged dimensions, the first may be split."""
    x = inputs[0]
    start, end = (dimension(node.attrs, x, name=name) for name in ("start", "end"))
    letters = spelled(len(x.shape), *range(start + 1, end + 1))
    return Sharding((letters,), (), (letters[: start + 1] + letters[end + 1 :],), linear=((0,),))


def _expand_sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    """A repeated dimension may be split where its size is a number, or that of the batch."""
    x, shape = inputs[0], node.outputs[0].shape
    kept: tuple[Dim | None, ...] = (None,) * (len(shape) - len(x.shape)) + x.shape
    others = (i for i, size in enumerate(shape) if kept[i] != size and not symbols(size) <= {"B"})
    letters = spelled(len(shape), *others)
    return Sharding((aligned(x.shape, shape, letters),), (), (letters,), linear=((0,),))


def _expand_local(node: Node, sizes: Mapping[str, int]) -> Mapping[str, Any]:
    shape = node.attrs["shape"]
    return {**node.attrs, "shape": tuple(_quotient(n, cut(node, sizes, i)) for i, n in enumerate(shape))}


def _quotient(size: Dim, parts: int) -> Dim:
    return size if parts == 1 else size // parts


_FROM = "the first of the two dimensions"
SHAPES = (
    Op(
        "transpose",
        "Exchanges two dimensions.",
        ("x",),
        _transpose,
        _emit_transpose,
        (Attribute("first", "int", _FROM, -2), Attribute("second", "int", "the second of the two", -1)),
        sharding=_transpose_sharding,
    ),
    Op(
        "flatten",
        "Merges neighbouring dimensions into one.",
        ("x",),
        _flatten,
        _emit_flatten,
        (Attribute("start", "int", "the first of them", 1), Attribute("end", "int", "the last of them", -1)),
        sharding=_flatten_sharding,
    ),
    Op(
        "expand",
        "Repeats dimensions of size 1, without a copy.",
        ("x",),
        _expand,
        _emit_expand,
        (Attribute("shape", "ints", "sizes of the result; may hold sizes such as B"),),
        sharding=_expand_sharding,
        local=_expand_local,
    ),
)
