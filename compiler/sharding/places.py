"""Types as short codes ("I", "S1"), and the part of a tensor that one rank holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from ..dims import Dim, Poly, Quotient, symbol, symbols
from ..node import Node, Tensor
from ..placement import CONVERSIONS, INVARIANT, PARTIAL, REPLICATED, Axis, Conversion, Place, shard

Code = str
"""A type as text, which is quicker to compare than a `Place`: "I", "R", "P", or "S" and the dimension."""


@cache
def place_of(code: Code) -> Place:
    """The type that a code stands for."""
    return {"I": INVARIANT, "R": REPLICATED, "P": PARTIAL}[code] if code in "IRP" else shard(int(code[1:]))


def code_of(place: Place) -> Code:
    """The code of a type."""
    return place.kind if place.dim is None else f"S{place.dim}"


@cache
def conversion(source: Code, target: Code) -> Conversion | None:
    """The collective that turns one type into another; None: no single one does."""
    return CONVERSIONS.get((place_of(source).kind, place_of(target).kind)) if source != target else None


def whole(tensor: Tensor, axis: Axis, size: int) -> Tensor:
    """The tensor before its split on an axis; `B` counts the samples of one data rank."""
    if axis != "data" or not any("B" in symbols(dim) or isinstance(dim, Poly) for dim in tensor.shape):
        return tensor
    return replace(tensor, shape=tuple(_times(dim, "B", symbol("B") * size) for dim in tensor.shape))


def part(tensor: Tensor, code: Code, axis: Axis, size: int) -> Tensor:
    """What one rank holds of a whole tensor."""
    if code[0] != "S":
        return tensor
    at = int(code[1:])
    return replace(tensor, shape=(*tensor.shape[:at], cut(tensor.shape[at], axis, size), *tensor.shape[at + 1 :]))


def joined(tensor: Tensor, place: Place, axis: Axis, size: int) -> Tensor:
    """The whole tensor of which one rank has a part."""
    if place.dim is None:
        return tensor
    at = place.dim
    dim = tensor.shape[at]
    if axis == "expert" and "B" in symbols(dim):
        return tensor
    parts = symbol("S") // size
    grown = _replaced(dim, parts, symbol("S")) if axis == "tensor" and isinstance(dim, Poly) else dim * size
    return replace(tensor, shape=(*tensor.shape[:at], grown, *tensor.shape[at + 1 :]))


def rank_view(tensor: Tensor, axis: Axis, size: int) -> Tensor:
    """A whole tensor in sizes of one rank: on the data axis `B` counts one rank's samples."""
    if axis != "data":
        return tensor
    return replace(tensor, shape=tuple(d // size if "B" in symbols(d) else d for d in tensor.shape))


def has_batch(tensor: Tensor) -> bool:
    """Whether the first dimension is that of the samples."""
    return bool(tensor.shape) and "B" in symbols(tensor.shape[0])


def _replaced(dim: Poly, part: Dim, by: Dim) -> Dim:
    """The size with `by` in the place of the one symbol that `part` is."""
    (name,) = symbols(part)
    return _times(dim, name, by)


def cut(dim: Dim, axis: Axis, size: int) -> Dim:
    """One rank's share of a dimension; of one that holds `S`, that is of the sequence; of rows, the mean over ranks."""
    if axis == "expert" and "B" in symbols(dim):
        return dim
    if axis == "tensor" and "S" in symbols(dim):
        return _times(dim, "S", symbol("S") // size)
    return dim // size


def _times(dim: Dim, name: str, by: Dim) -> Dim:
    """The size with `by` in the place of a symbol."""
    if not isinstance(dim, Poly):
        return dim
    total: Dim = 0
    for monomial, coefficient in dim.terms:
        term: Dim = coefficient
        for factor in monomial:
            if factor == name:
                term = term * by
            else:
                term = term * (_quotient(factor, name, by) if isinstance(factor, Quotient) else symbol(factor))
        total = total + term
    return total


def _quotient(factor: Quotient, name: str, by: Dim) -> Dim:
    return _times(factor.dividend, name, by) // _times(factor.divisor, name, by)


def arguments(node: Node, tensors: tuple[Tensor, ...], names: tuple[str, ...]) -> Mapping[str, object]:
    """Inputs by the names of an op's arguments; those of a variadic one as a tuple."""
    given: dict[str, object] = {}
    for name in names:
        plain = name.strip("*?")
        found = tuple(t for arg, t in zip(node.args, tensors, strict=True) if arg == plain)
        if found:
            given[plain] = found if name.startswith("*") else found[0]
    return given
