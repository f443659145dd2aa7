"""All legal ways to run an op on one axis of the mesh, from the record's `sharding`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from .dims import Dim, Poly, symbols
from .node import Node, Tensor
from .ops import OPS
from .placement import INVARIANT, PARTIAL, REPLICATED, Axis, Place, Row, Sharding, shard
from .sharding.places import has_batch


def rows_of(
    node: Node, inputs: Sequence[Tensor], axis: Axis, size: int, sequence_parallel: bool = False
) -> tuple[Row, ...]:
    """The rows of a node on an axis of `size` ranks; types of inputs are those before any split.

    First come the whole rows: all I, and all R, where every rank computes the same and holds its own part of the
    gradients. Integers and truth values have no gradient: I and R are one for them, and a conversion moves nothing.
    On the expert axis only the first is.
    """
    rule = OPS[node.op].sharding
    if axis == "expert":
        return (_uniform(node, INVARIANT), *(_by_expert(node, inputs, rule(node, inputs), size) if rule else ()))
    rows = [_uniform(node, INVARIANT), _uniform(node, REPLICATED)]
    if rule is not None:
        sharding = rule(node, inputs)
        found = chain(_splits(sharding), _linear(node, sharding), sharding.rows)
        rows += [row for row in found if _legal(node, inputs, row, axis, size, sequence_parallel)]
        rows = [row for row in rows if not _torn(sharding, row, axis, size, sequence_parallel)]
    return tuple(dict.fromkeys(rows))


def _by_expert(node: Node, inputs: Sequence[Tensor], sharding: Sharding, size: int) -> Iterator[Row]:
    """Rows of a node whose values lie by expert: by hand, or where each row of its operands is taken by itself."""
    yield from (row for row in sharding.by_expert if _legal(node, inputs, row, "expert", size, False))
    tensors = (*inputs, *node.outputs)
    lengths = {x.shape[0] for x in tensors if has_batch(x)}
    if (
        sharding.rows
        or len(lengths) != 1
        or any(x.kind != "float" for x in tensors)
        or any(map(_symbolic, node.attrs.values()))
    ):
        return
    alone = Row(
        tuple(shard(0) if has_batch(x) else INVARIANT for x in inputs),
        (INVARIANT,) * len(node.parameters),
        (shard(0),) * len(node.outputs),
    )
    if alone in [_whole(row) for row in _splits(sharding)]:
        yield alone


def _whole(row: Row) -> Row:
    """The row with I for R: what lies by expert leaves the others as they are on the data axis."""

    def whole(places: tuple[Place, ...]) -> tuple[Place, ...]:
        return tuple(INVARIANT if place == REPLICATED else place for place in places)

    return Row(whole(row.inputs), whole(row.parameters), whole(row.outputs))


def _symbolic(value: object) -> bool:
    return any(map(_symbolic, value)) if isinstance(value, tuple) else isinstance(value, Poly)


def _uniform(node: Node, place: Place) -> Row:
    return Row((place,) * len(node.inputs), (place,) * len(node.parameters), (place,) * len(node.outputs))


def _splits(sharding: Sharding) -> Iterable[Row]:
    """A row for each letter; none where an output lacks it and is not a sum over it."""
    every = (*sharding.inputs, *sharding.parameters, *sharding.outputs)
    for letter in dict.fromkeys(letter for letters in every for letter in letters if letter != "."):
        lost = PARTIAL if letter in sharding.sums else None
        outputs = tuple(_place(letters, letter, lost) for letters in sharding.outputs)
        if None not in outputs:
            yield Row(
                tuple(_place(letters, letter, REPLICATED) or REPLICATED for letters in sharding.inputs),
                tuple(_place(letters, letter, REPLICATED) or REPLICATED for letters in sharding.parameters),
                tuple(place for place in outputs if place is not None),
            )


def _place(letters: str, letter: str, other: Place | None) -> Place | None:
    return shard(letters.index(letter)) if letter in letters else other


def _linear(node: Node, sharding: Sharding) -> Iterable[Row]:
    for operands in sharding.linear:
        yield Row(
            tuple(PARTIAL if i in operands else REPLICATED for i in range(len(node.inputs))),
            tuple(PARTIAL if p.name in operands else REPLICATED for p in node.parameters),
            (PARTIAL,) * len(node.outputs),
        )


def _legal(node: Node, inputs: Sequence[Tensor], row: Row, axis: Axis, size: int, sequence_parallel: bool) -> bool:
    shapes = [x.shape for x in (*inputs, *node.outputs)]
    shapes[len(inputs) : len(inputs)] = [p.shape for p in node.parameters]
    places = (*row.inputs, *row.parameters, *row.outputs)
    return all(
        divides(shape[place.dim], axis, size, sequence_parallel)
        for shape, place in zip(shapes, places, strict=True)
        if place.dim is not None
    )


def _torn(sharding: Sharding, row: Row, axis: Axis, size: int, sequence_parallel: bool) -> bool:
    """Whether a row splits a dimension whose outer factor does not divide."""
    places = (*row.inputs, *row.parameters, *row.outputs)
    letters = (*sharding.inputs, *sharding.parameters, *sharding.outputs)
    split = {text[place.dim] for text, place in zip(letters, places, strict=True) if place.dim is not None}
    return any(
        not divides(sharding.sizes[letter], axis, size, sequence_parallel) for letter in split & sharding.sizes.keys()
    )


def divides(dim: Dim, axis: Axis, size: int, sequence_parallel: bool) -> bool:
    """Whether a dimension may be split on an axis.

    On the data axis that is the batch, whose size is that of one rank already. On the tensor axis it is every number
    that divides; with sequence parallelism also multiples of the sequence, which the layout has checked to divide. Rows
    lie by expert in any number.
    """
    if axis == "data":
        return isinstance(dim, Poly) and all("B" in monomial for monomial, _ in dim.terms)
    if isinstance(dim, int) or axis == "expert":
        return not isinstance(dim, int) or dim % size == 0
    return sequence_parallel and symbols(dim) == {"S"} and [monomial for monomial, _ in dim.terms] == [("S",)]
