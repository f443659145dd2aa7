"""What the sharding rules of ops share: letters for dimensions, and what the chosen types say to `local` and `emit`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from string import ascii_lowercase
from typing import Final

from ..dims import Dim
from ..node import Node, Tensor
from ..placement import REPLICATED, Place, Placement, Row, Sharding, shard

Rule = Callable[[Node, Sequence[Tensor]], Sharding]
Operands = tuple[tuple[int | str, ...], ...]
AXES: Final = {"tensor": "TENSOR", "data": "DATA", "expert": "EXPERT"}
"""The name that a program gives to each axis; emission imports those that an expression holds."""


def spelled(rank: int, *whole: int) -> str:
    """A letter for each dimension; "." for those that must be whole, counted from the end if negative."""
    closed = {dim % rank for dim in whole}
    return "".join("." if i in closed else ascii_lowercase[i] for i in range(rank))


def last_whole(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    """The result is like `x`, whose last dimension is whole; parameters belong to that dimension."""
    letters = spelled(len(inputs[0].shape), -1)
    return Sharding((letters,), tuple("." * len(p.shape) for p in node.parameters), (letters,))


def whole_operands(inputs: Sequence[Tensor]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Letters of inputs, parameters and the one number that results, where all rows are by hand."""
    return tuple("." * len(x.shape) for x in inputs), (), ("",)


def aligned(shape: tuple[Dim, ...], result: tuple[Dim, ...], letters: str) -> str:
    """Letters of an operand that broadcasts to `result`, whose dimensions are `letters`: a stretched one has none."""
    start = len(result) - len(shape)
    rows = zip(shape, result[start:], letters[start:], strict=True)
    return "".join(letter if size == whole else "." for size, whole, letter in rows)


def elementwise(linear: Callable[[Node, Sequence[Tensor]], Operands] | Operands = ()) -> Rule:
    """Each dimension of the result may be split; operands broadcast. `linear` as in `Sharding`."""

    def rule(node: Node, inputs: Sequence[Tensor]) -> Sharding:
        result = node.outputs[0].shape
        letters = spelled(len(result))
        operands = linear(node, inputs) if callable(linear) else linear
        return Sharding(tuple(aligned(x.shape, result, letters) for x in inputs), (), (letters,), linear=operands)

    return rule


def gathered_row(node: Node, inputs: Sequence[Place], outputs: Sequence[Place]) -> Row:
    """A row by hand whose parameters are R."""
    return Row(tuple(inputs), (REPLICATED,) * len(node.parameters), tuple(outputs))


def blocks(dims: Sequence[int | None]) -> tuple[Place, ...]:
    """S of each number, R of None."""
    return tuple(REPLICATED if dim is None else shard(dim) for dim in dims)


def parts(placement: Placement, dim: int, sizes: Mapping[str, int]) -> int:
    """Into how many parts the tensor axis cuts a dimension; sizes are those of one data rank already."""
    return sizes.get("tensor", 1) if placement.get("tensor") == shard(dim) else 1


def cut(node: Node, sizes: Mapping[str, int], dim: int, output: int = 0) -> int:
    """`parts` of a dimension of an output."""
    placement: Placement = node.placements[output] if node.placements else {}
    return parts(placement, dim % len(node.outputs[output].shape), sizes)


def partial(placement: Placement) -> tuple[str, ...]:
    """Expressions of the axes over which a value is partial."""
    return tuple(AXES[axis] for axis, place in placement.items() if place.kind == "P")


def partial_result(node: Node) -> tuple[str, ...]:
    """`partial` of the first output."""
    return partial(node.placements[0]) if node.placements else ()


def share_of_mean(node: Node, text: str) -> str:
    """A mean over this rank's part as this rank's share of the mean over all parts: divided by their number.

    `text` binds at least as tightly as a product. A mean takes no partial input: a partial result was split.
    """
    return text + "".join(f" / {axis}.size" for axis in partial_result(node))


def moving(node: Node, *kinds: str) -> tuple[str, ...]:
    """Expressions of the axes with collectives inside the op, those of some kinds only if `kinds` are given."""
    found = (axis for axis, move in node.moves if not kinds or move.what in kinds)
    return tuple(AXES[axis] for axis in dict.fromkeys(found))
