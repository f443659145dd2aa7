"""The rows that the search may choose from: those of the op that fit the axis, with types as codes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from ..dims import symbols
from ..node import Node, Tensor, Value
from ..ops import OPS
from ..ops.base import ShapeError
from ..placement import Axis, Place, Row, shard
from ..plan import Plan
from ..rows import rows_of
from .gradients import Carrying, differentiated
from .places import Code, arguments, code_of, has_batch, part, whole


@dataclass(frozen=True)
class Choice:
    """One way to run a node: types of inputs, parameters and outputs, and the row that they come from."""

    inputs: tuple[Code, ...]
    parameters: tuple[Code, ...]
    outputs: tuple[Code, ...]
    row: Row


@dataclass(frozen=True)
class Rules:
    """The rows of a plan's nodes on one axis; `divisor` is `size`, or 1 to see what would divide."""

    plan: Plan
    axis: Axis
    size: int
    sequence: bool
    gradients: Carrying
    divisor: int

    def inputs(self, body: str, node: Node) -> tuple[Tensor, ...]:
        """Whole types of a node's inputs."""
        return tuple(whole(self.plan.tensor(body, value), self.axis, self.size) for value in node.inputs)

    def outputs(self, node: Node) -> tuple[Tensor, ...]:
        """Whole types of a node's outputs."""
        return tuple(whole(tensor, self.axis, self.size) for tensor in node.outputs)

    def choices(self, body: str, node: Node) -> list[Choice]:
        """All ways to run a node of the body, each once; I and R are one where no gradient flows."""
        carries = self.gradients[body]
        free = not differentiated(node) or not any((node.name, i) in carries for i in range(len(node.outputs)))
        found: dict[tuple[tuple[Code, ...], ...], Choice] = {}
        for row in self._rows(body, node):
            used = [code_of(place) for place in row.parameters]
            if not self._suits(node, used) or not self._possible(body, node, row):
                continue
            parameters = tuple(c if p.trained or c != "R" else "I" for c, p in zip(used, node.parameters, strict=True))
            outputs = tuple(self.known(body, (node.name, i), code_of(place)) for i, place in enumerate(row.outputs))
            for inputs in self._inputs(body, node, row, free):
                found.setdefault((inputs, parameters, outputs), Choice(inputs, parameters, outputs, row))
        return list(found.values())

    def known(self, body: str, value: Value, code: Code) -> Code:
        """A type as it is written for a value: R without a gradient is I."""
        return "I" if code == "R" and value not in self.gradients[body] else code

    def _inputs(self, body: str, node: Node, row: Row, free: bool) -> Iterator[tuple[Code, ...]]:
        options: list[tuple[Code, ...]] = []
        for value, place in zip(node.inputs, row.inputs, strict=True):
            code = self.known(body, value, code_of(place))
            either = free and code in ("I", "R") and value in self.gradients[body]
            options.append(("I", "R") if either else (code,))
        yield from product(*options)

    def _rows(self, body: str, node: Node) -> Sequence[Row]:
        if node.op == "collective":
            return [Row((place,), (), (place,)) for place in self._everywhere(node)]
        if node.op == "extern":
            return self._extern(body, node)
        inputs = [self.plan.tensor(body, value) for value in node.inputs]
        return rows_of(node, inputs, self.axis, self.divisor, self.sequence)

    def _everywhere(self, node: Node) -> Iterator[Place]:
        """A collective on one axis is linear, so that any type on the other one passes; one on the data axis takes rows
        with their samples.
        """
        if self.axis == "expert":
            yield Place("I")
            if node.attrs["axis"] == "tensor" and has_batch(node.outputs[0]):
                yield shard(0)
            return
        yield from (Place("I"), Place("R"), Place("P"))
        yield from (shard(d) for d, dim in enumerate(node.outputs[0].shape) if "B" in symbols(dim))

    def _extern(self, body: str, node: Node) -> Sequence[Row]:
        """A user's module sees whole tensors, and of the batch what its data rank has."""
        if self.axis != "data":
            return [Row((Place("I"),) * len(node.inputs), (), (Place("I"),) * len(node.outputs))]
        inputs = [self.plan.tensor(body, value) for value in node.inputs]
        sides = [[_batch(tensor) or Place("R") for tensor in side] for side in (inputs, node.outputs)]
        return [Row(tuple(sides[0]), (), tuple(sides[1]))]

    def _suits(self, node: Node, used: Sequence[Code]) -> bool:
        """On the data axis every rank uses the whole of each parameter on its own samples."""
        pairs = zip(node.parameters, used, strict=True)
        return self.axis != "data" or all(code == "R" or (not p.trained and code == "I") for p, code in pairs)

    def _possible(self, body: str, node: Node, row: Row) -> bool:
        """Whether the op makes what the row says: an `expand` to B samples makes one rank's, not those of all."""
        wholes = self.outputs(node)
        ranks = [i for i, p in enumerate(row.outputs) if p.kind != "S" and wholes[i] != node.outputs[i]]
        if not ranks or node.op not in OPS:
            return True
        given = tuple(
            part(tensor, code_of(place), self.axis, self.size)
            for tensor, place in zip(self.inputs(body, node), row.inputs, strict=True)
        )
        op = OPS[node.op]
        try:
            made = op.infer(arguments(node, given, op.tensors), node.attrs).outputs
        except ShapeError:
            return False
        return all(made[i] == wholes[i] for i in ranks)


def _batch(tensor: Tensor) -> Place | None:
    return shard(0) if tensor.shape and "B" in symbols(tensor.shape[0]) else None
