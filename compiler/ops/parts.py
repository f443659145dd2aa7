"""Parts of tensors: concat, split, slice, select, shift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..dims import Dim
from ..node import Node, Tensor
from ..placement import Sharding
from .base import Attribute, Inferred, Op, ShapeError
from .common import DIM, dimension, keywords, literal, number, operand, shown, whole
from .sharding import spelled


def _concat(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    tensors: tuple[Tensor, ...] = inputs["xs"]
    first = tensors[0]
    dim = dimension(attrs, first, "xs")
    total: Dim = 0
    for i, x in enumerate(tensors):
        others = [n for j, n in enumerate(x.shape) if j != dim]
        if others != [n for j, n in enumerate(first.shape) if j != dim] or len(x.shape) != len(first.shape):
            raise ShapeError(
                f"part {i + 1} is {x}, but part 1 is {first}: they may differ in dimension {dim} only", None, "xs"
            )
        if x.kind != first.kind:
            raise ShapeError(f"part {i + 1} is {x.kind}, but part 1 is {first.kind}", None, "xs")
        total = total + x.shape[dim]
    return Inferred((Tensor((*first.shape[:dim], total, *first.shape[dim + 1 :]), first.kind),))


def _emit_concat(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    comma = "," if len(inputs) == 1 else ""
    return f"torch.cat(({args['xs']}{comma}), {literal(node.attrs['dim'])})"


def _split(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    x: Tensor = inputs["x"]
    dim = dimension(attrs, x)
    sizes = attrs["sizes"]
    if not sizes or not all(type(n) is int and n > 0 for n in sizes):
        raise ShapeError("`sizes` must be whole numbers above 0", "for example sizes: [128, 64]", "sizes")
    if sum(sizes) != x.shape[dim]:
        text = " + ".join(str(n) for n in sizes)
        raise ShapeError(f"{text} = {sum(sizes)}, but dimension {dim} of `x` is {x.shape[dim]}", None, "sizes")
    return Inferred(tuple(Tensor((*x.shape[:dim], n, *x.shape[dim + 1 :]), x.kind) for n in sizes))


def _emit_split(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    return f"{operand(args['x'])}.split({list(node.attrs['sizes'])!r}, {literal(node.attrs['dim'])})"


def _slice(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    x: Tensor = inputs["x"]
    dim = dimension(attrs, x)
    size = x.shape[dim]
    start = whole(attrs, "start", -(2**62))
    stop = None if attrs["stop"] is None else whole(attrs, "stop", -(2**62))
    if isinstance(size, int):
        length: Dim = len(range(size)[start:stop])
        if abs(start) > size or (stop is not None and abs(stop) > size) or not length:
            raise ShapeError(
                f"{start} to {shown(stop)} does not lie in dimension {dim} of size {size}", argument="start"
            )
    else:
        length = _open_length(size, start, stop)
    return Inferred((Tensor((*x.shape[:dim], length, *x.shape[dim + 1 :]), x.kind),))


def _open_length(size: Dim, start: int, stop: int | None) -> Dim:
    """Length of a slice of a dimension whose size is a symbol; the symbol is taken to be large enough."""
    first: Dim = start if start >= 0 else size + start
    last: Dim = size if stop is None else stop if stop >= 0 else size + stop
    length = last - first
    if isinstance(length, int) and length < 1:
        raise ShapeError(f"{start} to {shown(stop)} is empty", argument="stop")
    return length


def _emit_slice(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    attrs = node.attrs
    start = "" if attrs["start"] == 0 else repr(attrs["start"])
    stop = "" if attrs["stop"] is None else repr(attrs["stop"])
    return f"{operand(args['x'])}[{':, ' * dimension(attrs, inputs[0])}{start}:{stop}]"


def _select(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    x: Tensor = inputs["x"]
    dim = dimension(attrs, x)
    index, size = whole(attrs, "index", -(2**62)), x.shape[dim]
    if isinstance(size, int) and not -size <= index < size:
        raise ShapeError(f"`index` is {index}, but dimension {dim} of `x` has size {size}", None, "index")
    return Inferred((Tensor(x.shape[:dim] + x.shape[dim + 1 :], x.kind),))


def _emit_select(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    return f"{operand(args['x'])}[{':, ' * dimension(node.attrs, inputs[0])}{node.attrs['index']!r}]"


def _shift(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    x: Tensor = inputs["x"]
    size = x.shape[dimension(attrs, x)]
    by = whole(attrs, "by", -(2**62))
    if isinstance(size, int) and abs(by) > size:
        raise ShapeError(f"`by` is {by}, but the dimension has size {size}", None, "by")
    if x.kind != "float" and not isinstance(number(attrs, "fill"), int):
        raise ShapeError(f"`fill` is {attrs['fill']}, but `x` holds {x.kind} values", None, "fill")
    return Inferred((x,))


def _emit_shift(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    options = keywords(dim=node.attrs["dim"], fill=node.attrs["fill"] or None)
    return f"layers.shift({args['x']}, {node.attrs['by']!r}{options})"


def _sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    """All dimensions but `dim`; every part in the same way."""
    letters = spelled(len(inputs[0].shape), dimension(node.attrs, inputs[0]))
    together = tuple(range(len(inputs)))
    return Sharding((letters,) * len(inputs), (), (letters,) * len(node.outputs), linear=(together,))


def _select_sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    x, dim = inputs[0], dimension(node.attrs, inputs[0])
    letters = spelled(len(x.shape), dim)
    return Sharding((letters,), (), (letters[:dim] + letters[dim + 1 :],), linear=((0,),))


def _shift_sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    """With a fill other than 0 it is not linear."""
    sharding = _sharding(node, inputs)
    return replace(sharding, linear=()) if node.attrs["fill"] else sharding


PARTS = (
    Op("concat", "Joins tensors along a dimension.", ("*xs",), _concat, _emit_concat, (DIM,), sharding=_sharding),
    Op(
        "split",
        "Cuts into parts along a dimension: (a, b) = split(x, sizes: [128, 64]).",
        ("x",),
        _split,
        _emit_split,
        (Attribute("sizes", "ints", "sizes of the parts"), DIM),
        sharding=_sharding,
    ),
    Op(
        "slice",
        "The part from `start` to before `stop` of a dimension.",
        ("x",),
        _slice,
        _emit_slice,
        (
            DIM,
            Attribute("start", "int", "the first; negative counts from the end", 0),
            Attribute("stop", "int", "the one after the last; none: the end", None),
        ),
        sharding=_sharding,
    ),
    Op(
        "select",
        "One index of a dimension, which goes away.",
        ("x",),
        _select,
        _emit_select,
        (DIM, Attribute("index", "int", "which one; negative counts from the end", 0)),
        sharding=_select_sharding,
    ),
    Op(
        "shift",
        "Moves along a dimension by some places: y[i] = x[i - by]; what comes in is `fill`.",
        ("x",),
        _shift,
        _emit_shift,
        (
            Attribute("by", "int", "places; negative moves towards the start"),
            Attribute("dim", "int", "the dimension to move along", 1),
            Attribute("fill", "float", "what comes in", 0),
        ),
        imports=("layers",),
        sharding=_shift_sharding,
    ),
)
