"""Placement types: how a value, and its gradient, lie on one axis of the mesh.

    I    invariant   every rank holds the whole value, and the whole gradient
    R    replicated  every rank holds the whole value; gradients of the ranks have to be added up
    P    partial     the value is the sum over ranks; every rank holds the whole gradient
    S(d) sharded     every rank holds one block of dimension d, of the value and of the gradient

The gradient of an R value is a partial sum and that of a P value is whole: each type has its dual, so a plan that
is well typed forward is well typed backward (the pairs f and g of Shoeybi et al. 2019, section 3, are I -> R and
P -> I). A value changes its type only in a collective node; `CONVERSIONS` says what that moves in each direction.

The axis "expert" is a part of the data axis, so a value has both types. There S(0) means that it lies by expert: each
rank has the rows, or the parameters, of its own experts, and I that it lies as on the data axis, rows with the rank of
their sample. Only `dispatch` and `combine` turn one into the other, by `Move`s; no collective node does. A parameter
that is R on the data axis and S(0) on the expert axis has a part of its gradient on each rank with the same experts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from .dims import Dim

Kind = Literal["I", "R", "P", "S"]
Axis = Literal["data", "tensor", "expert"]
AXES: Final[tuple[Axis, ...]] = ("data", "tensor", "expert")


@dataclass(frozen=True)
class Place:
    """The type of a value on one axis; `dim` only with S, counted from the front."""

    kind: Kind
    dim: int | None = None

    def __str__(self) -> str:
        return self.kind if self.dim is None else f"S({self.dim})"


INVARIANT: Final = Place("I")
REPLICATED: Final = Place("R")
PARTIAL: Final = Place("P")


def shard(dim: int) -> Place:
    """Sharded on a dimension."""
    return Place("S", dim)


Placement = Mapping[Axis, Place]
"""The type on every axis of the mesh; an axis of one rank has none."""


@dataclass(frozen=True)
class Conversion:
    """How a collective node turns one type into another: what is called, and what moves forward and backward.

    `name` is the function of `dskc.runtime.collectives`. `forward` and `backward` are "all_reduce", "all_gather",
    "reduce_scatter", "all_to_all" or None, where nothing moves.
    """

    name: str
    forward: str | None
    backward: str | None


CONVERSIONS: Final[dict[tuple[Kind, Kind], Conversion]] = {
    ("P", "I"): Conversion("all_reduce", "all_reduce", None),
    ("P", "R"): Conversion("all_reduce_both", "all_reduce", "all_reduce"),
    ("P", "S"): Conversion("reduce_scatter", "reduce_scatter", "all_gather"),
    ("S", "I"): Conversion("all_gather", "all_gather", None),
    ("S", "R"): Conversion("all_gather_both", "all_gather", "reduce_scatter"),
    ("S", "S"): Conversion("all_to_all", "all_to_all", "all_to_all"),
    ("I", "R"): Conversion("copy", None, "all_reduce"),
    ("I", "S"): Conversion("split", None, "all_gather"),
    ("R", "S"): Conversion("split_both", None, None),
    ("I", "P"): Conversion("share", None, None),
}
"""By (from, to). `split_both` fills the gradient of the other blocks with zeros: it stays partial. `share` keeps the
value on the first rank and puts zeros elsewhere, so that the ranks' sum is the value."""


@dataclass(frozen=True)
class Move:
    """A collective inside an op, such as the maximum and the sum of a cross entropy over a split vocabulary.

    `kind` is what is called forward, with as many numbers on each rank as `forward` says; `backward` those of the
    backward pass, which calls a reduce-scatter for an all-gather (that many of the result), else the same. `format` is
    that of the numbers; "value" is that of the op's first output.
    """

    kind: str
    what: str
    forward: Dim = 0
    backward: Dim = 0
    format: str = "fp32"


@dataclass(frozen=True)
class Row:
    """One legal way to run an op on one axis: types of its inputs, parameters and outputs, in their order."""

    inputs: tuple[Place, ...]
    parameters: tuple[Place, ...]
    outputs: tuple[Place, ...]
    moves: tuple[Move, ...] = ()


@dataclass(frozen=True)
class Sharding:
    """How an op may be split, in named dimensions; `rows_of` makes rows of it.

    `inputs` (per input), `parameters` (per parameter) and `outputs` (per output) give one letter per dimension; the
    same letter is the same dimension everywhere it stands, "." one that must be whole. A split of a letter that is in
    `sums` leaves a partial result. A letter stands for the outer factor of a dimension that is made of several;
    `sizes` gives the size of that factor where no dimension is it alone.
    `linear` lists sets of operands (input numbers and parameter names) in which the op is linear together: all of
    them partial and all other operands R give a partial result. `rows` are further rows, by hand; `by_expert` those on
    the expert axis, beside what takes each row by itself.
    """

    inputs: tuple[str, ...]
    parameters: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    sums: str = ""
    linear: tuple[tuple[int | str, ...], ...] = ()
    rows: tuple[Row, ...] = ()
    sizes: Mapping[str, Dim] = field(default_factory=dict)
    by_expert: tuple[Row, ...] = ()
