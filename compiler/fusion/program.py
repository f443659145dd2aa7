"""What the kernels of a group load, compute and store, forward and backward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from ..node import Node
from .differentiate import gradients
from .expression import REDUCTIONS, Expr, Expressions, Kind, ordered, replaced
from .find import meaning
from .group import Group, Leaf

GRADIENT = "d "
"""Before the name of a value: its gradient. No name has a space."""
WEIGHTS: Mapping[Kind, int] = {"tile": 1_000, "row": 1, "vector": 1, "number": 0}


@dataclass(frozen=True)
class Stored:
    """A value that a kernel writes: an output, a row value for backward, or the gradient of an input."""

    name: str
    value: Expr
    kind: Kind


@dataclass(frozen=True)
class Program:
    """`inputs` are what forward loads, `outputs` what it gives, `saved` the reductions that backward reads again.

    `reads` are the inputs and outputs (in the place of what these were computed from) that gradients depend on, and
    `loads` those of them and of `saved` that the kernel loads. `incoming` are the gradients of the outputs, `gradients`
    those of the inputs (of a vector: what each row adds to it); `whole` are the same from `reads` alone.
    """

    made: Expressions
    group: Group
    inputs: tuple[Leaf, ...]
    outputs: tuple[Stored, ...]
    saved: tuple[Stored, ...]
    reads: tuple[str, ...]
    loads: tuple[str, ...]
    incoming: tuple[str, ...]
    gradients: tuple[Stored, ...]
    whole: tuple[Stored, ...]

    @property
    def vectors(self) -> tuple[Stored, ...]:
        """Gradients that are summed over the rows."""
        return tuple(each for each in self.gradients if each.kind == "vector")


def program_of(group: Group, nodes: Mapping[str, Node]) -> Program:
    """The program of a group; `nodes` are those of its body by name."""
    made = Expressions(group.columns)
    inputs, values = meaning(made, group, dict(nodes))
    outputs = _rounded(made, group, values)
    incoming = {each.name: made.input(GRADIENT + each.name, each.kind) for each in outputs}
    given: dict[Expr, Expr] = {}
    for each in outputs:
        last = incoming[each.name]
        given[each.value] = made.add(given[each.value], last) if each.value in given else last
    found = gradients(made, given, tuple(inputs.values()))
    rows = [e for e in ordered(each.value for each in outputs) if e.op in REDUCTIONS]
    names = _names(made, rows)
    roots = {leaf: found.get(expr, made.number(0)) for leaf, expr in inputs.items()}
    cuts = [_cut(made, roots, chosen, rows, names) for chosen in _choices(outputs)]
    best = min(cuts, key=lambda cut: sum(WEIGHTS[each.kind] for each in cut.reads))
    order = [*(leaf.name for leaf in group.inputs), *(each.name for each in outputs), *names.values()]
    reads, loads = ({each.name for each in found} for found in (best.reads, best.loads))
    return Program(
        made,
        group,
        group.inputs,
        tuple(outputs),
        tuple(Stored(names[row], row, "row") for row in rows if names[row] in loads),
        tuple(name for name in order if name in reads),
        tuple(name for name in order if name in loads),
        tuple(expr.name for expr in incoming.values()),
        tuple(Stored(GRADIENT + leaf.name, best.kernel[leaf], leaf.kind) for leaf in group.inputs),
        tuple(Stored(GRADIENT + leaf.name, best.whole[leaf], leaf.kind) for leaf in group.inputs),
    )


def _rounded(made: Expressions, group: Group, values: Sequence[Expr]) -> list[Stored]:
    """The outputs; one that others are computed from is rounded for them as it is stored."""
    changes: dict[Expr, Expr] = {}
    found = []
    for (name, _), value in zip(group.outputs, values, strict=True):
        own = replaced(made, value, changes)
        if value.kind == "tile" and any(value in ordered([other]) for other in values if other is not value):
            own = changes[value] = made.named(made.rounded(own, name), name)
        found.append(Stored(name, own, own.kind))
    return found


def _choices(outputs: Sequence[Stored]) -> list[tuple[Stored, ...]]:
    """Outputs that backward may read again; none first, so that it wins where nothing is gained."""
    tiles = [each for each in outputs if each.kind == "tile"]
    return [chosen for size in range(len(tiles) + 1) for chosen in combinations(tiles, size)]


@dataclass(frozen=True)
class Cut:
    """Gradients in terms of `reads`, and as the kernel computes them from `loads`, which has reductions."""

    whole: dict[Leaf, Expr]
    kernel: dict[Leaf, Expr]
    reads: list[Expr]
    loads: list[Expr]


def _cut(
    made: Expressions,
    roots: Mapping[Leaf, Expr],
    chosen: Sequence[Stored],
    rows: Sequence[Expr],
    names: dict[Expr, str],
) -> Cut:
    """Gradients that read these outputs, and reductions of forward."""
    changes: dict[Expr, Expr] = {}
    for each in chosen:
        kept = made.input(each.name, "tile")
        changes |= {each.value: kept, each.value.args[0] if each.value.op == "rounded" else each.value: kept}
    again = {row: made.input(names[row], "row") for row in rows}
    whole = {leaf: replaced(made, root, changes, "rounded") for leaf, root in roots.items()}
    kernel = {leaf: replaced(made, root, changes | again, "rounded") for leaf, root in roots.items()}
    reads, loads = (
        [e for e in ordered(found.values()) if e.op == "input" and not e.name.startswith(GRADIENT)]
        for found in (whole, kernel)
    )
    return Cut(whole, kernel, reads, loads)


def _names(made: Expressions, rows: Sequence[Expr]) -> dict[Expr, str]:
    """Names of the reductions of forward."""
    names: dict[Expr, str] = {}
    for row in rows:
        name, number = made.names.get(row, row.op), 1
        while name in names.values():
            number += 1
            name = f"{made.names.get(row, row.op)}_{number}"
        names[row] = name
    return names
