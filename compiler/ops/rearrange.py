"""rearrange: splits, permutes and merges dimensions, in the notation of einops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_letters
from typing import Any

from ..dims import Dim, divisible, product
from ..node import Node, Tensor
from ..placement import Sharding
from .base import Attribute, Inferred, Op, ShapeError
from .common import operand
from .sharding import cut

Side = tuple[tuple[str, ...], ...]
"""One side of a pattern: the axes of each dimension; `1` is a dimension of no axis."""


def parse(pattern: object) -> tuple[Side, Side]:
    """`"b s (h d) -> b h s d"` as the axes of each dimension, left and right."""
    if not isinstance(pattern, str) or pattern.count("->") != 1:
        raise ShapeError(f"`{pattern}` is not a pattern", 'for example "b s (h d) -> b h s d"', "pattern")
    left, right = (_side(text) for text in pattern.split("->"))
    names, others = ([axis for group in side for axis in group] for side in (left, right))
    for listed in (names, others):
        for axis in listed:
            if listed.count(axis) > 1:
                raise ShapeError(f"axis `{axis}` stands twice on one side of the pattern", None, "pattern")
    for axis in names:
        if axis not in others:
            help = f"keep `{axis}` on the right, or reduce it with mean, sum or max"
            raise ShapeError(f"axis `{axis}` is lost by the pattern", help, "pattern")
    for axis in others:
        if axis not in names:
            raise ShapeError(f"axis `{axis}` comes from nowhere: it is not on the left", None, "pattern")
    return left, right


def _side(text: str) -> Side:
    groups: list[tuple[str, ...]] = []
    open_group: list[str] | None = None
    for word in text.replace("(", " ( ").replace(")", " ) ").split():
        if word == "(" and open_group is None:
            open_group = []
        elif word == ")" and open_group is not None:
            groups.append(tuple(open_group))
            open_group = None
        elif word == "1" and open_group is None:
            groups.append(())
        elif word.isidentifier() and open_group is None:
            groups.append((word,))
        elif word.isidentifier() and open_group is not None:
            open_group.append(word)
        else:
            raise ShapeError(f"unexpected `{word}` in the pattern", "axes are names, 1, or names in ( )", "pattern")
    if open_group is not None:
        raise ShapeError("a ( is not closed in the pattern", None, "pattern")
    return tuple(groups)


def axis_sizes(x: Tensor, left: Side, given: Mapping[str, Any]) -> dict[str, Dim]:
    """The size of each axis of the left side; at most one per dimension is derived."""
    if len(left) != len(x.shape):
        raise ShapeError(f"the pattern has {len(left)} dimensions, but `x` is {x} with {len(x.shape)}", None, "pattern")
    sizes: dict[str, Dim] = {}
    for group, size in zip(left, x.shape, strict=True):
        sizes |= _group_sizes(group, size, given)
    return sizes


def _group_sizes(group: tuple[str, ...], size: Dim, given: Mapping[str, Any]) -> dict[str, Dim]:
    known: dict[str, Dim] = {axis: given[axis] for axis in group if axis in given}
    for axis, value in known.items():
        if isinstance(value, int) and value < 1:
            raise ShapeError(f"axis `{axis}` must be at least 1, but is {value}", None, axis)
    unknown = [axis for axis in group if axis not in known]
    inside = product(tuple(known.values()))
    text = f"({' '.join(group)})" if len(group) > 1 else group[0] if group else "1"
    if len(unknown) > 1:
        raise ShapeError(
            f"the sizes of {' and '.join(f'`{a}`' for a in unknown)} in `{text}` are not given",
            f"give all but one of them, for example {unknown[0]}: 8",
            "pattern",
        )
    if unknown and not divisible(size, inside):
        names = " * ".join(f"{a}" for a in known)
        raise ShapeError(f"size {size} does not split by {names} = {inside} in `{text}`", None, next(iter(known)))
    if not unknown and inside != size:
        raise ShapeError(
            f"`{text}` is {inside}, but the size of `x` there is {size}", None, next(iter(known), "pattern")
        )
    return known | {axis: _quotient(size, inside) for axis in unknown}


def _quotient(size: Dim, by: Dim) -> Dim:
    return size if by == 1 else size // by


def _infer(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    x: Tensor = inputs["x"]
    left, right = parse(attrs["pattern"])
    given = {name: value for name, value in attrs.items() if name != "pattern"}
    names = {axis for group in left for axis in group}
    for name in given:
        if name not in names:
            raise ShapeError(f"axis `{name}` is not in the pattern", None, name)
    sizes = axis_sizes(x, left, given)
    return Inferred((Tensor(tuple(product(tuple(sizes[a] for a in group)) for group in right), x.kind),))


def _emit(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    """Unflatten, drop unit dimensions, permute, insert unit dimensions, flatten: only the steps that are needed."""
    left, right = parse(node.attrs["pattern"])
    sizes = axis_sizes(inputs[0], left, {k: v for k, v in node.attrs.items() if k != "pattern"})
    steps = _splits(left, sizes) + _permutation(left, right) + _merges(right)
    return args["x"] if not steps else operand(args["x"]) + steps


def _splits(left: Side, sizes: Mapping[str, Dim]) -> str:
    text = ""
    for i in reversed(range(len(left))):
        if len(left[i]) > 1:
            text += f".unflatten({i - len(left) if i == len(left) - 1 else i}, {_sizes(left[i], sizes)})"
        elif not left[i]:
            text += f".squeeze({i})"
    return text


def _sizes(group: tuple[str, ...], sizes: Mapping[str, Dim]) -> str:
    """`(8, 32)`; a size that is known only when running is -1, of which there can be one."""
    return "(" + ", ".join(str(size) if isinstance(size := sizes[a], int) else "-1" for a in group) + ")"


def _permutation(left: Side, right: Side) -> str:
    before = [axis for group in left for axis in group]
    after = [axis for group in right for axis in group]
    order = [before.index(axis) for axis in after]
    moved = [i for i, j in enumerate(order) if i != j]
    if not moved:
        return ""
    if len(moved) == 2:
        return f".transpose({moved[0]}, {moved[1]})"
    return f".permute({', '.join(map(str, order))})"


def _merges(right: Side) -> str:
    text = ""
    for i, group in enumerate(right):
        if not group:
            text += f".unsqueeze({i})"
        elif len(group) > 1:
            end = "" if i == len(right) - 1 else f", {i + len(group) - 1}"
            text += f".flatten({i}{end})"
    return text


def _sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    """An axis that is the outermost of its dimension on both sides may be split."""
    left, right = parse(node.attrs["pattern"])
    sizes = axis_sizes(inputs[0], left, {k: v for k, v in node.attrs.items() if k != "pattern"})
    both = {group[0] for group in left if group} & {group[0] for group in right if group}
    letters = dict(zip(sorted(both), ascii_letters, strict=False))
    before, after = ("".join(letters.get(g[0], ".") if g else "." for g in side) for side in (left, right))
    return Sharding((before,), (), (after,), linear=((0,),), sizes={letters[a]: sizes[a] for a in letters})


def _local(node: Node, sizes: Mapping[str, int]) -> Mapping[str, Any]:
    _, right = parse(node.attrs["pattern"])
    attrs = dict(node.attrs)
    for i, group in enumerate(right):
        if group and isinstance(given := attrs.get(group[0]), int):
            attrs[group[0]] = given // cut(node, sizes, i)
    return attrs


REARRANGE = Op(
    "rearrange",
    'Splits, permutes and merges dimensions: rearrange(x, "b s (h d) -> b h s d", h: heads).',
    ("x",),
    _infer,
    _emit,
    (
        Attribute("pattern", "string", "both shapes: names of axes, ( ) around those of one dimension, 1 for a unit"),
        Attribute("*sizes", "int", "sizes of named axes that the shape does not tell"),
    ),
    sharding=_sharding,
    local=_local,
)
